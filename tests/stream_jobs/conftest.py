"""An installation that the stream jobs' tests share, each as a customer of its own; and one for one test."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded_broker import start_broker
from infra.settings import Settings
from tests.conftest import free_port
from tests.schemas.running import running_registry
from tests.stream_jobs.world import World, wait_until

_numbers = count(1)


@contextmanager
def broker_in(folder: Path) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that nothing else writes to."""
    port = free_port()
    with (folder / "broker.log").open("wb") as output:
        process = start_broker(port, folder / "broker", output)
        try:
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})

            def answers() -> bool:
                try:
                    client.list_topics(timeout=1)
                except KafkaException:
                    return False
                return True

            wait_until(answers, "the broker's answer", 30)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def jobs_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an installation with the catalogue's topics."""
    folder = tmp_path_factory.mktemp("jobs")
    with broker_in(folder) as servers, running_registry(servers, folder) as settings:
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
    with broker_in(tmp_path) as servers, running_registry(servers, home) as settings:
        world = World(settings, "acme")
        yield world
        world.close()
