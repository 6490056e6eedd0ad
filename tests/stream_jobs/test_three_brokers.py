"""A cluster of three brokers under the jobs: whatever one of them takes with it, the others have."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.errors import HeadraceError
from infra.kafka import admin
from infra.settings import Settings
from schemas.catalogue import SALES_INPUT, SALES_VALIDATED, check
from tests.kafka_servers import running_cluster
from tests.running import Server, job_process, wait_until
from tests.schemas.running import running_registry
from tests.stream_jobs.world import World

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(600)]

VALIDATE = "from stream_jobs.validate import run_validate\nrun_validate(settings, store, stop)"


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[dict[int, Server]]:
    with running_cluster(tmp_path / "cluster", 3) as servers:
        yield servers


@pytest.fixture
def world(brokers: dict[int, Server], home: Path) -> Iterator[World]:
    """An installation whose topics have three replicas."""
    servers = ",".join(server.url for server in brokers.values())
    with running_registry(servers, home, replication=3) as settings:
        world = World(settings, "acme")
        yield world
        world.close()


class Kept:
    """A validate job that is started again when it ends, as a supervisor does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process = job_process(settings, VALIDATE)

    def look(self) -> None:
        if self._process.poll() is not None:
            self._process = job_process(self._settings, VALIDATE)

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


def leader_of(settings: Settings, topic: str) -> int:
    client = admin(settings)
    return client.list_topics(topic, timeout=30).topics[topic].partitions[0].leader


def test_a_broker_killed_under_a_running_validate_takes_nothing_with_it(
    world: World, brokers: dict[int, Server]
) -> None:
    assert check(world.settings) == []
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    deliveries, count = [], 400
    validate = Kept(world.settings)

    def judged(expected: int) -> bool:
        validate.look()
        try:
            return world.judged() == (expected, 0)
        except HeadraceError:
            return False  # Nobody leads the partition at this moment.

    try:
        deliveries.append(world.deliver_sales(count))
        wait_until(lambda: judged(2 * count), "verdicts while all is well")
        for topic in (SALES_VALIDATED, SALES_INPUT):
            killed = brokers[leader_of(world.settings, topic)]
            deliveries.append(world.deliver_sales(count))
            killed.kill()
            deliveries += [world.deliver_sales(count) for _ in range(3)]
            wait_until(partial(judged, 2 * count * len(deliveries)), "verdicts without one broker")
            killed.start()
            wait_until(lambda: in_sync(world.settings), "the return of the broker")
    finally:
        validate.end()
    verdicts = Counter((m.partition(), m.value()) for m in world.messages(SALES_VALIDATED))
    assert set(verdicts.values()) == {1}
    assert set(verdicts) == {(m.partition(), m.value()) for m in world.messages(SALES_INPUT)}
    assert len(verdicts) == 2 * count * len(deliveries)


def in_sync(settings: Settings) -> bool:
    """Whether every replica of every topic has all of it."""
    client = admin(settings)
    topics = client.list_topics(timeout=30).topics.values()
    return all(len(p.isrs) == len(p.replicas) for topic in topics for p in topic.partitions.values())
