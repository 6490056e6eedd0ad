"""Workers of a job come, go, are restarted and killed while sales flow: none is lost, doubled or long in coming."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise

import pytest
from confluent_kafka import Consumer

from infra.blobs import BlobStore
from infra.errors import RegroupedError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from lake.verify import verify
from stream_jobs import validate
from stream_jobs.join import run_join
from stream_jobs.sink import run_sink
from stream_jobs.transactions import Transactions
from stream_jobs.validate import run_validate
from tests.running import job_process, running_job, wait_until
from tests.stream_jobs.lake_rows import rows
from tests.stream_jobs.test_crashes import VALIDATE
from tests.stream_jobs.world import World, sales_frame

PARTITIONS = range(4)
SALES_EACH = 10
IN_THE_GROUP = 30
"""So many rounds of sales last longer than a process needs to start and to join its group."""
PAUSE_S_MAX = 5.0
"""What nobody should notice; below a worker's session, so that no worker can have waited for one to end."""


class Feed:
    """Sales that flow into every partition until told to stop; of each ten one is to be refused."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop = threading.Event()
        world.deliver_masters("locations", ["L1"])
        world.deliver_masters("products", ["P1"])
        self._delivery_id = world.accept("sales")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.sent = 0

    def _run(self) -> None:
        quantities = [-1.0] + [2.0] * (SALES_EACH - 1)
        while not self._stop.wait(0.1):
            for partition in PARTITIONS:
                frame = sales_frame(
                    self._world.customer, self._delivery_id, SALES_EACH, self.sent + 1, quantity=quantities
                )
                self._world.sales(self._delivery_id, partition, frame)
                self.sent += SALES_EACH

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def flowing(world: World) -> Iterator[Feed]:
    """Sales flow until the end of the block."""
    feed = Feed(world)
    try:
        yield feed
    finally:
        feed.stop()


Job = Callable[[Settings, BlobStore, threading.Event], None]


def worker(world: World, name: str, job: Job = run_validate) -> AbstractContextManager[threading.Thread]:
    """A worker of a job, until the end of the block."""
    settings = world.with_stream(worker=name, transaction_wait_ms=50, flush_s_max=0.5)
    return running_job(lambda stop: job(settings, world.store, stop))


def judged_by_all(world: World, more: int) -> None:
    """Wait until so many more sales were judged in every partition."""
    reader, seen = TopicReader(world.settings, ["sales-validated"], "test"), Counter[int | None]()
    try:
        for _ in reader.read_to_end():
            pass

        def true() -> bool:
            seen.update(message.partition() for message in reader.poll(timeout_s=0.1))
            return all(seen[partition] >= more for partition in PARTITIONS)

        wait_until(true, "verdicts in every partition")
    finally:
        reader.close()


def assert_once_in_order(world: World, sent: int) -> None:
    """Every sale has one verdict, and the valid ones stand in the order in which they came."""
    wait_until(lambda: sum(world.judged()) >= sent, "all verdicts")
    assert world.judged() == (sent * 9 // 10, sent // 10)
    refused = Counter(error["position"] for error in world.records("sales-error"))
    assert refused == dict.fromkeys(range(1, sent + 1, SALES_EACH), 1)
    bad = {error["original"] for error in world.records("sales-error")}
    taken = [(m.partition(), m.value()) for m in world.messages("sales-input") if m.value() not in bad]
    given = [(m.partition(), m.value()) for m in world.messages("sales-validated")]
    for partition in PARTITIONS:
        assert [v for p, v in given if p == partition] == [v for p, v in taken if p == partition]


def longest_pause_s(world: World) -> float:
    """The longest time in which a partition had no verdict."""
    times: dict[int | None, list[int]] = {}
    for message in world.messages("sales-validated"):
        times.setdefault(message.partition(), []).append(message.timestamp()[1])
    return max(b - a for own in times.values() for a, b in pairwise(own)) / 1000


def test_workers_of_validate_come_are_restarted_one_at_a_time_and_go(lone_world: World) -> None:
    world = lone_world
    with worker(world, "a"), flowing(world) as feed:
        judged_by_all(world, SALES_EACH)
        with worker(world, "b"):
            with worker(world, "c"):
                judged_by_all(world, 5 * SALES_EACH)
            with worker(world, "c"):
                judged_by_all(world, 5 * SALES_EACH)
        judged_by_all(world, 5 * SALES_EACH)
        feed.stop()
        assert_once_in_order(world, feed.sent)
    assert longest_pause_s(world) < PAUSE_S_MAX


def test_a_stopped_job_holds_nobody_up_and_catches_up_when_it_comes_back(lone_world: World) -> None:
    world = lone_world
    with worker(world, "a"), flowing(world) as feed:
        with worker(world, "a", run_join):
            wait_until(lambda: rows(world.settings, "sales_joined", world.customer).height > 0, "a first row")
        stopped_at = rows(world.settings, "sales_joined", world.customer).height
        judged_by_all(world, 5 * SALES_EACH)
        assert rows(world.settings, "sales_joined", world.customer).height == stopped_at
        feed.stop()
        assert_once_in_order(world, feed.sent)
        with worker(world, "a", run_join):
            wait_until(
                lambda: rows(world.settings, "sales_joined", world.customer).height == feed.sent * 9 // 10,
                "the rest of the rows",
            )


def test_workers_that_write_the_lake_come_and_go(lone_world: World) -> None:
    world = lone_world
    with (
        worker(world, "a"),
        worker(world, "a", run_join),
        worker(world, "a", run_sink),
        flowing(world) as feed,
    ):
        judged_by_all(world, SALES_EACH)
        with (
            worker(world, "b", run_join),
            worker(world, "c", run_join),
            worker(world, "b", run_sink),
            worker(world, "c", run_sink),
        ):
            judged_by_all(world, 15 * SALES_EACH)
        feed.stop()
        settings = world.settings
        for table, count in {"sales_joined": feed.sent * 9 // 10, "sales_error": feed.sent // 10}.items():
            wait_until(
                lambda table=table, count=count: rows(settings, table, world.customer).height >= count,  # type: ignore[misc]
                f"all rows of {table}",
            )
            found = rows(settings, table, world.customer)
            assert found["position"].n_unique() == found.height == count
    assert verify(world.store) == []


@contextmanager
def killed_after(world: World, rounds: int) -> Iterator[None]:
    """A worker b in a process of its own, killed when so many rounds of sales were judged and the block is over."""
    process = job_process(world.with_stream(worker="b", transaction_wait_ms=50), VALIDATE)
    try:
        judged_by_all(world, rounds * SALES_EACH)
        yield
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.needs_kafka
def test_the_partitions_of_a_killed_worker_go_to_the_others(lone_world: World) -> None:
    world = lone_world
    with worker(world, "a"), flowing(world) as feed:
        with killed_after(world, IN_THE_GROUP):
            pass
        judged_by_all(world, 5 * SALES_EACH)
        feed.stop()
        assert_once_in_order(world, feed.sent)
    assert longest_pause_s(world) < world.settings.stream.session_ms / 1000 + PAUSE_S_MAX


def test_the_partitions_of_a_killed_worker_come_back_with_it(lone_world: World) -> None:
    world = lone_world
    with worker(world, "a"), flowing(world) as feed:
        with killed_after(world, IN_THE_GROUP):
            pass
        with killed_after(world, IN_THE_GROUP):
            feed.stop()
            assert_once_in_order(world, feed.sent)
    assert longest_pause_s(world) < PAUSE_S_MAX


class Regrouping(Transactions):
    """Transactions whose every third commit comes when the group has just divided its partitions anew."""

    commits = 0

    def commit(
        self, offsets: Mapping[tuple[str, int], int] | None = None, group: Consumer | None = None
    ) -> None:
        self.commits += 1
        if self.commits % 3 == 0:
            self.abort()
            raise RegroupedError("the group has moved on")
        super().commit(offsets, group)


def test_a_worker_whose_group_has_moved_on_judges_again_what_was_not_committed(
    lone_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lone_world
    monkeypatch.setattr(validate, "Transactions", Regrouping)
    with flowing(world) as feed, worker(world, "a"):
        judged_by_all(world, 5 * SALES_EACH)
        feed.stop()
        assert_once_in_order(world, feed.sent)
