"""The joined lake and the tables of raw changes, on a real broker and a directory."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime

import polars as pl
import pytest

from infra import telemetry
from infra.blobs import open_store
from infra.errors import FaultError, FencedError
from lake.append import AppendTable
from schemas.lake_tables import LAKE_TABLES
from schemas.registry import Registry
from stream_jobs.join import JoinIntake, run_join
from stream_jobs.master_reader import MasterReader
from stream_jobs.runtime import Stream
from stream_jobs.sink import Sink, run_sink
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.lake_rows import files, rows
from tests.stream_jobs.world import NOON, World


def validated(world: World, count: int) -> int:
    """Deliver sales of L1 and P1 and have them judged; returns their delivery."""
    delivery_id = world.deliver_sales(count)
    before = sum(world.judged())
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: sum(world.judged()) == before + 2 * count, "the verdicts")
    return delivery_id


def test_sales_are_joined_as_of_their_delivery_and_fall_on_their_local_day(world: World) -> None:
    world.deliver_masters(
        "locations", ["L1"], name="Quay", time_zone="Asia/Tokyo", currency="JPY", region="north"
    )
    world.deliver_masters("products", ["P1"], name="Bread", category="food", unit="kg")
    first = world.deliver_sales(1, partitions=[0], sold_at=datetime(2026, 3, 1, 20, tzinfo=UTC))
    world.deliver_masters("locations", ["L1"], name="Quay 2", time_zone="America/Lima")
    second = world.deliver_sales(1, partitions=[0], sold_at=datetime(2026, 3, 2, 3, tzinfo=UTC))
    void = world.deliver_sales(
        1, partitions=[0], voided=True, product_id=None, sold_at=None, quantity=None, unit_price=None
    )
    settings, store = world.with_stream(flush_s_max=0.2), open_store(world.settings)
    with running_job(lambda stop: run_validate(settings, world.store, stop)):
        with running_job(lambda stop: run_join(settings, store, stop)):
            wait_until(lambda: rows(settings, "sales_joined", world.customer).height == 3, "three rows")
    found = {
        row["delivery_id"]: row
        for row in rows(settings, "sales_joined", world.customer).iter_rows(named=True)
    }
    assert (found[first]["location_name"], found[first]["time_zone"], found[first]["sold_on"]) == (
        "Quay",
        "Asia/Tokyo",
        date(2026, 3, 2),
    )
    assert (found[second]["location_name"], found[second]["region"], found[second]["sold_on"]) == (
        "Quay 2",
        None,
        date(2026, 3, 1),
    )
    assert (found[first]["product_name"], found[first]["unit"], found[first]["revenue"]) == (
        "Bread",
        "kg",
        3.0,
    )
    assert (found[void]["voided"], found[void]["sold_on"], found[void]["unit"]) == (True, None, None)


def test_a_quiet_topic_is_flushed_by_age_and_a_stop_flushes_the_rest(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    validated(world, 20)
    store = open_store(world.settings)
    with running_job(lambda stop: run_join(world.with_stream(flush_s_max=0.3), store, stop)):
        wait_until(
            lambda: rows(world.settings, "sales_joined", world.customer).height == 40, "a flush by age"
        )
    delivery_id = validated(world, 20)
    slow = world.with_stream(flush_s_max=3600.0)
    read = telemetry.records_in.labels("join", "sales-validated")._value
    before = read.get()
    with running_job(lambda stop: run_join(slow, store, stop)):
        wait_until(lambda: read.get() == before + 40, "that all is read")
    found = rows(world.settings, "sales_joined", world.customer)
    assert found.filter(pl.col("delivery_id") == delivery_id).height == 40
    assert found["sale_id"].n_unique() == found.height == 80


def test_two_workers_that_both_own_a_partition_leave_each_sale_once(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    validated(world, 300)
    store = open_store(world.settings)
    table = AppendTable(store, "sales_joined")

    def work(group: str, stop: threading.Event) -> None:
        settings = world.with_stream(flush_s_max=0.2, batch_rows_max=50, flush_rows_max=100)
        registry = Registry(settings)
        reader = MasterReader(settings, registry, store, group)
        try:
            reader.start(stop)
            # Groups of their own: each of the two is told that every partition is its own.
            stream = Stream(settings, ["sales-validated"], group)
            intake = JoinIntake(settings, stream, reader, registry, table)
            stream.run(Sink(settings, stream, {"sales-validated": table}, intake), stop)
        finally:
            reader.close()
            registry.close()

    def worker(group: str) -> Callable[[threading.Event], None]:
        def restarted(stop: threading.Event) -> None:
            # Whoever is beaten twice stops, perhaps both, and is started again by a supervisor.
            while not stop.is_set():
                with suppress(FencedError):
                    work(group, stop)

        return restarted

    names = f"{world.customer}-a", f"{world.customer}-b"
    with running_job(worker(names[0])), running_job(worker(names[1])):
        wait_until(lambda: rows(world.settings, "sales_joined", world.customer).height >= 600, "all sales")
    found = rows(world.settings, "sales_joined", world.customer)
    assert found["sale_id"].n_unique() == found.height == 600


def test_raw_changes_and_refusals_lie_in_the_lake_once(world: World) -> None:
    world.deliver_masters("locations", ["L1", "L2"], region="north")
    world.deliver_masters("products", ["P1"])
    # A tombstone is no record of the table and must not stop it.
    world.send("products", 0, [None], [f"{world.customer}/P0"])
    world.deliver_masters("products", ["P1"], unit="kg")
    world.deliver_sales(3, quantity=-1.0)
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (0, 6), "the verdicts")
    settings, store = world.with_stream(flush_s_max=0.2), open_store(world.settings)

    def counts() -> list[int]:
        names = ("sales_error", "changes_locations", "changes_products")
        return [rows(settings, name, world.customer).height for name in names]

    for _ in range(2):
        with running_job(lambda stop: run_sink(settings, store, stop)):
            wait_until(lambda: counts() == [6, 2, 2], "all rows")
    errors = rows(settings, "sales_error", world.customer)
    assert set(errors.columns) == set(LAKE_TABLES["sales_error"].file_schema.names)
    assert errors["codes"].to_list() == [["negative_quantity"]] * 6
    products = rows(settings, "changes_products", world.customer).sort("source_offset")
    assert products["unit"].to_list() == ["piece", "kg"]
    assert files(settings, "changes_prices") == []
    assert products["received_at"][0] == NOON


def test_a_valid_sale_that_cannot_be_read_stops_the_join_instead_of_being_lost(lone_world: World) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    validated(world, 5)
    world.send("sales-validated", 3, [b"\x00garbage"], [f"{world.customer}/L1"])
    with (
        pytest.raises(FaultError, match=r"sales-validated \[3\] offset \d+ cannot be read"),
        running_job(lambda stop: run_join(world.settings, open_store(world.settings), stop)) as thread,
    ):
        thread.join(60)
    assert rows(world.settings, "sales_joined", world.customer).is_empty()


def test_a_chain_that_ends_behind_the_topic_stops_the_join(lone_world: World) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    validated(world, 5)
    settings, store = world.with_stream(flush_s_max=0.1), open_store(world.settings)
    with running_job(lambda stop: run_join(settings, store, stop)):
        wait_until(lambda: rows(settings, "sales_joined", "acme").height == 10, "all rows")
    # As if the lake were older than the topics: its file claims offsets that the topic has not reached.
    table = AppendTable(store, "sales_joined")
    end = table.chain_end(0)
    assert end is not None
    beyond = end.next_offset + 1000
    table.append(0, beyond - 1, beyond, NOON, rows(settings, "sales_joined", "acme").head(1), end)
    with (
        pytest.raises(FaultError, match="the topic was made anew"),
        running_job(lambda stop: run_join(settings, store, stop)) as thread,
    ):
        thread.join(60)


def test_what_is_buffered_of_all_partitions_is_bounded(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    validated(world, 100)
    settings = world.with_stream(flush_s_max=3600.0, buffer_bytes_max=1, batch_rows_max=50)
    stopped = threading.Event()

    def job(stop: threading.Event) -> None:
        run_join(settings, open_store(settings), stop)
        stopped.set()

    with running_job(job):
        wait_until(lambda: rows(settings, "sales_joined", world.customer).height == 200, "all rows")
        assert not stopped.is_set()
