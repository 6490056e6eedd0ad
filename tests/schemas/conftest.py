"""A registry that the tests of the contracts share, and a broker for those that restart or break one."""

from collections.abc import Iterator

import pytest

from infra.settings import PortSettings, Settings, load_settings
from schemas.registry import Registry
from tests.running import free_port, running_broker
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
    with running_broker(folder, ports.broker):
        yield load_settings(home=folder, ports=ports)
