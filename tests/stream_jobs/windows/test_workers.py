"""Several workers of the window job: they share the partitions, come and go, and together tell what the twin tells."""

from collections import defaultdict
from collections.abc import Mapping

import pytest
from confluent_kafka import Consumer

from infra.settings import Settings
from stream_jobs.transactions import Transactions
from stream_jobs.windows import job
from stream_jobs.windows.job import run_window
from tests.running import running_job, wait_until
from tests.stream_jobs.test_scaling import Regrouping
from tests.stream_jobs.windows.test_job import (
    deliver_masters,
    late_seen,
    seen_by_a_reader,
    told_by_twins,
    traffic,
)
from tests.stream_jobs.world import World

PARTITIONS = range(4)
DELIVERIES_MAX = 30
"""More than come before a second worker has its share."""


def worker_settings(world: World, name: str) -> Settings:
    """Settings under which a worker commits and snapshots often."""
    return world.with_stream(
        worker=name,
        windows="day=tumbling:1d, week=hopping:4d/1d, slide=sliding:1h",
        window_grace="1d",
        window_update_s=0.2,
        snapshot_s=0.3,
        batch_rows_max=150,
    )


def told_as_by_the_twin(world: World, number: int) -> None:
    """Deliver into all partitions, and wait until what stands in the topics is what the twin tells, once."""
    traffic(world, number, PARTITIONS)
    expected, late = told_by_twins(world, worker_settings(world, "a"))
    wait_until(lambda: seen_by_a_reader(world) == expected, "what the twin tells")
    assert late_seen(world) == late


def test_two_workers_share_the_partitions_and_tell_together_what_the_twin_tells(
    lone_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lone_world
    committed: defaultdict[str, set[int]] = defaultdict(set)

    class Noted(Transactions):
        """Transactions that note who commits which partitions."""

        def commit(
            self, offsets: Mapping[tuple[str, int], int] | None = None, group: Consumer | None = None
        ) -> None:
            super().commit(offsets, group)
            committed[self._id].update(partition for _, partition in offsets or ())

    monkeypatch.setattr(job, "Transactions", Noted)
    deliver_masters(world, PARTITIONS)

    numbers = iter(range(DELIVERIES_MAX))
    with running_job(lambda stop: run_window(worker_settings(world, "a"), world.store, stop)):
        told_as_by_the_twin(world, next(numbers))
        assert committed["window-a"] == set(PARTITIONS)
        with running_job(lambda stop: run_window(worker_settings(world, "b"), world.store, stop)):
            while len(committed["window-b"]) < len(PARTITIONS) / 2:
                told_as_by_the_twin(world, next(numbers))
            committed.clear()
            told_as_by_the_twin(world, next(numbers))
            assert len(committed["window-a"]) == len(committed["window-b"]) == len(PARTITIONS) / 2
            assert committed["window-a"] | committed["window-b"] == set(PARTITIONS)
        told_as_by_the_twin(world, next(numbers))
    assert committed["window-a"] == set(PARTITIONS)


def test_a_worker_whose_group_has_moved_on_sums_again_what_was_not_committed(
    lone_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = lone_world
    monkeypatch.setattr(job, "Transactions", Regrouping)
    deliver_masters(world, PARTITIONS)
    with running_job(lambda stop: run_window(worker_settings(world, "a"), world.store, stop)):
        for number in range(5):
            told_as_by_the_twin(world, number)
