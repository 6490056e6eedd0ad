"""A broker, a registry and topics that the stream jobs' tests share; each test delivers as a customer of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from infra.embedded_broker import start_broker
from infra.settings import Settings
from tests.conftest import free_port
from tests.schemas.running import running_registry
from tests.stream_jobs.world import World, wait_until


_numbers = count(1)


@pytest.fixture(scope="session")
def jobs_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that only the tests of this folder write to."""
    tmp_path, port = tmp_path_factory.mktemp("jobs"), free_port()
    with (tmp_path / "broker.log").open("wb") as output:
        process = start_broker(port, tmp_path / "broker", output)
        try:
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})

            def answers() -> bool:
                try:
                    client.list_topics(timeout=1)
                except Exception:
                    return False
                return True

            wait_until(answers, "the broker's answer", 30)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def jobs_installation(jobs_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an installation with the catalogue's topics."""
    with running_registry(jobs_broker, tmp_path_factory.mktemp("installation")) as settings:
        yield settings


@pytest.fixture
def world(jobs_installation: Settings, home: Path) -> Iterator[World]:
    """The installation as one more customer, with a lake of its own."""
    world = World(jobs_installation.model_copy(update={"home": home}), f"customer{next(_numbers)}")
    yield world
    world.close()
