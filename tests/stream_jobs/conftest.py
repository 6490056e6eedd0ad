"""An installation that the stream jobs' tests share, each as a customer of its own; and one for one test."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.running import running_broker
from tests.schemas.running import running_registry
from tests.stream_jobs.world import World

_numbers = count(1)


@pytest.fixture(scope="session")
def jobs_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an installation with the catalogue's topics."""
    folder = tmp_path_factory.mktemp("jobs")
    with running_broker(folder) as servers, running_registry(servers, folder) as settings:
        yield settings


@pytest.fixture
def world(jobs_installation: Settings, home: Path) -> Iterator[World]:
    """The shared installation as one more customer, with a lake of its own."""
    world = World(jobs_installation.model_copy(update={"home": home}), f"customer{next(_numbers)}")
    yield world
    world.close()


@pytest.fixture
def lone_world(tmp_path: Path, home: Path) -> Iterator[World]:
    """An installation of one test, which may leave behind what would disturb others."""
    with running_broker(tmp_path) as servers, running_registry(servers, home) as settings:
        world = World(settings, "acme")
        yield world
        world.close()
