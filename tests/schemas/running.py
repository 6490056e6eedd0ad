"""A schema registry that runs inside a test's process, and settings that point to it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from infra.settings import PortSettings, Settings, load_settings
from schemas.catalogue import apply
from schemas.registry_log import RegistryLog
from schemas.registry_rules import SchemaRegistry
from schemas.registry_server import registry_app
from tests.conftest import free_port


@contextmanager
def serving_registry(settings: Settings, port: int) -> Iterator[RegistryLog]:
    """Serve the embedded registry on a port for as long as the block lasts."""
    log = RegistryLog(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            registry_app(SchemaRegistry(log)),
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, name="registry", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the registry did not start on port {port}")
            time.sleep(0.01)
        yield log
    finally:
        server.should_exit = True
        thread.join(10)
        log.close()


@contextmanager
def running_registry(bootstrap_servers: str, home: Path) -> Iterator[Settings]:
    """Settings of an installation on a running broker, with a registry of its own and the catalogue's topics.

    The broker holds the registry's log, so one broker serves one registry at a time.
    """
    port = free_port()
    settings = load_settings(
        home=home,
        broker=bootstrap_servers,
        registry_url=f"http://127.0.0.1:{port}",
        ports=PortSettings(broker=int(bootstrap_servers.rsplit(":", 1)[1]), registry=port),
    )
    with serving_registry(settings, port):
        apply(settings)
        yield settings
