"""A registry that the tests of the contracts share."""

from collections.abc import Iterator

import pytest

from infra.settings import Settings
from schemas.registry import Registry
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
