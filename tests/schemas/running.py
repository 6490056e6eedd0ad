"""A schema registry that runs inside a test's process, and settings that point to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.settings import PortSettings, Settings, load_settings
from schemas.catalogue import apply
from schemas.registry_server import RegistryServer
from tests.running import free_port

_serving: dict[str, int] = {}
"""Ports of the registries that run, by their broker: a second one on a broker would fence the first."""


@contextmanager
def serving_registry(settings: Settings) -> Iterator[RegistryServer]:
    """Serve the embedded registry where the settings expect it, for as long as the block lasts."""
    server = RegistryServer(settings, settings.ports.registry)
    thread = threading.Thread(target=server.run, name="registry", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(15)


@contextmanager
def running_registry(bootstrap_servers: str, home: Path, replication: int = 1) -> Iterator[Settings]:
    """Settings of an installation on a running broker, with a registry and the catalogue's topics.

    Inside another such block for the same broker the registry of the outer block serves.
    """
    port = _serving.get(bootstrap_servers, 0)
    settings = load_settings(
        home=home,
        broker=bootstrap_servers,
        replication=replication,
        ports=PortSettings(broker=int(bootstrap_servers.rsplit(":", 1)[1]), registry=port or free_port()),
    )
    if port:
        yield settings
        return
    with serving_registry(settings):
        _serving[bootstrap_servers] = settings.ports.registry
        try:
            apply(settings)
            yield settings
        finally:
            del _serving[bootstrap_servers]
