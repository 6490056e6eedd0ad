"""A registry that the tests of the contracts share, and a broker for those that restart or break one."""

import time
from collections.abc import Iterator

import pytest

from infra.embedded_broker import start_broker
from infra.errors import MissingPartError
from infra.kafka import check_broker
from infra.settings import PortSettings, Settings, load_settings
from schemas.registry import Registry
from tests.conftest import free_port
from tests.schemas.running import running_registry


@pytest.fixture(scope="session")
def installation(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a broker and a registry that run, and the catalogue's topics."""
    with running_registry(broker, tmp_path_factory.mktemp("installation")) as settings:
        yield settings


@pytest.fixture(scope="session")
def registry(installation: Settings) -> Iterator[Registry]:
    """A client of the running registry."""
    client = Registry(installation)
    yield client
    client.close()


@pytest.fixture
def lone_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with an empty broker of the test's own, and a free port for a registry."""
    folder = tmp_path_factory.mktemp("lone")
    ports = PortSettings(broker=free_port(), registry=free_port())
    settings = load_settings(home=folder, ports=ports)
    with (folder / "log").open("wb") as output:
        process = start_broker(ports.broker, folder / "data", output)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    check_broker(settings, timeout_s=0.5)
                    break
                except MissingPartError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
            yield settings
        finally:
            process.terminate()
            process.wait(10)
