"""A broker, a registry and topics of its own for each test that writes to the catalogue's topics."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from infra.embedded_broker import start_broker
from tests.conftest import free_port
from tests.schemas.running import running_registry
from tests.stream_jobs.world import World, wait_until


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that nothing else writes to."""
    port = free_port()
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


@pytest.fixture
def world(own_broker: str, home: Path) -> Iterator[World]:
    """An installation with the catalogue's topics, two partitions of sales and short waits."""
    with running_registry(own_broker, home) as settings:
        world = World(settings)
        yield world
        world.close()
