"""Snapshots: written whole, verified when read, passed over when they do not fit, and gone on from."""

import logging
import threading
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.blobs import BlobStore, DirectoryStore
from infra.errors import FaultError
from infra.extents import Extent
from infra.kafka import admin
from stream_jobs.master_reader import MasterReader
from stream_jobs.snapshots import Snapshot, Snapshots, misfit, starts
from tests.running import wait_until
from tests.stream_jobs.world import World

PLACE = ("locations", 0)
SCHEMAS = {"numbers": pl.Schema({"number": pl.Int64()})}


def snapshot(position: int, topic_id: str = "A") -> Snapshot:
    return Snapshot(
        {PLACE: position}, {"numbers": pl.DataFrame({"number": [position]})}, {"locations": topic_id}
    )


def extent(topic_id: str = "A", first: int = 0, end: int = 100) -> dict[tuple[str, int], Extent]:
    return {PLACE: Extent(topic_id, first, end)}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return DirectoryStore(tmp_path / "lake")


def test_the_newest_is_restored_and_only_three_are_kept(store: BlobStore) -> None:
    snapshots = Snapshots(store, "test")
    for position in (5, 6, 9, 10, 30):
        assert snapshots.write(snapshot(position)) is not None
    assert snapshots.write(snapshot(30)) is snapshots.write(snapshot(7)) is None
    found = snapshots.newest(extent(), SCHEMAS)
    assert found is not None
    assert found.positions == {PLACE: 30}
    assert found.frames["numbers"]["number"].to_list() == [30]
    assert [int(path.split("/")[-1][:20]) for path in store.list("state/test")] == [9, 10, 30]


def test_a_broken_one_is_passed_over_for_an_older_one(
    store: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = Snapshots(store, "test")
    snapshots.write(snapshot(5))
    path = snapshots.write(snapshot(9))
    assert path is not None
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    store.replace(path, bytes(data))
    found = snapshots.newest(extent(), SCHEMAS)
    assert found is not None
    assert found.positions == {PLACE: 5}
    assert "passed over: expected the digest that its name tells" in caplog.text


def test_one_of_another_version_is_passed_over(store: BlobStore, caplog: pytest.LogCaptureFixture) -> None:
    snapshots = Snapshots(store, "test")
    snapshots.write(snapshot(5))
    assert snapshots.newest(extent(), {"numbers": pl.Schema({"number": pl.Int32()})}) is None
    assert "another version" in caplog.text


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (extent(), None),
        (extent(topic_id="B"), "has been made anew since"),
        (extent(end=19), "messages were lost"),
        (extent(first=21), "begins at 21 now"),
        ({}, "does not exist any more"),
    ],
)
def test_one_that_does_not_fit_the_topics_is_told(
    now: dict[tuple[str, int], Extent], words: str | None
) -> None:
    problem = misfit(snapshot(20), now)
    assert (problem is None) if words is None else (problem is not None and words in problem)


def test_what_neither_snapshot_nor_topic_holds_is_never_skipped() -> None:
    assert starts(snapshot(20), extent(first=7)) == {PLACE: 20}
    assert starts(None, extent()) == {PLACE: 0}
    with pytest.raises(FaultError, match="begins at 7: what lay between is gone"):
        starts(None, extent(first=7))


def reading(world: World, snapshot_s: float = 300.0) -> MasterReader:
    settings = world.with_stream(snapshot_s=snapshot_s)
    reader = MasterReader(settings, world.registry, world.store, "test")
    reader.start(threading.Event())
    return reader


def with_snapshot(world: World) -> None:
    """Leave a snapshot of all there is behind, written while a reader runs."""
    reader = reading(world, snapshot_s=0.05)
    try:
        wait_until(lambda: not reader.follow() and bool(world.store.list("state")), "a snapshot")
    finally:
        reader.close()


def knowledge(world: World, reader: MasterReader) -> tuple[object, ...]:
    tables = reader.tables
    return (
        dict(reader.log.deliveries),
        tables.locations.newest(world.customer).rows(),
        tables.products.newest(world.customer).rows(),
        dict(reader.positions),
    )


def test_a_reader_goes_on_from_a_snapshot_and_knows_what_one_from_the_beginning_knows(
    lone_world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1", "L2"])
    world.deliver_masters("products", [f"P{number}" for number in range(50)])
    world.deliver_sales(3)
    with_snapshot(world)
    world.deliver_masters("products", ["P1", "P51"], name="changed")
    world.accept("locations")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = reading(world)
    assert "snapshot read in" in caplog.text
    elsewhere = MasterReader(world.settings, world.registry, DirectoryStore(tmp_path / "none"), "test")
    elsewhere.start(threading.Event())
    try:
        assert knowledge(world, second) == knowledge(world, elsewhere)
        assert second.tables.products.keys == 51
    finally:
        second.close()
        elsewhere.close()


def test_a_topic_made_anew_is_told_and_read_from_its_beginning(
    lone_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1", "L2"])
    with_snapshot(world)
    client = admin(world.settings)
    client.delete_topics(["locations"])["locations"].result(30)
    wait_until(lambda: "locations" not in client.list_topics(timeout=10).topics, "the end of the topic")
    client.create_topics([NewTopic("locations", 1, 1)])["locations"].result(30)
    wait_until(lambda: "locations" in client.list_topics(timeout=10).topics, "the new topic")
    reader = reading(world)
    try:
        assert reader.tables.locations.keys == 0
        assert "is passed over" in caplog.text
    finally:
        reader.close()


def test_a_topic_cut_below_a_snapshot_goes_on_and_without_one_stops(lone_world: World) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1", "L2", "L3"])
    with_snapshot(world)
    client = admin(world.settings)
    # Kafka takes records off the front of topics that are not compacted only.
    client.delete_records([TopicPartition("deliveries", 0, 2)])[TopicPartition("deliveries", 0)].result(30)
    reader = reading(world)
    try:
        assert reader.tables.locations.keys == 3
    finally:
        reader.close()
    for path in world.store.list("state"):
        world.store.delete(path)
    with pytest.raises(
        FaultError, match=r"deliveries \[0\]: expected its messages from offset 0, found that it begins at 2"
    ):
        reading(world)
