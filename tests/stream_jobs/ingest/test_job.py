"""The ingest job: each position of a delivery once, whatever is killed, fenced or broken."""

import io
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from infra.blobs import BlobStore
from infra.errors import FaultError, FencedError
from infra.settings import IngestSettings, Settings
from schemas.partitioning import partitions_of
from stream_jobs.ingest import job
from stream_jobs.ingest.accept import Desk
from stream_jobs.ingest.contents import CONTENTS, MASTER_CONTENTS
from stream_jobs.ingest.job import run_ingest
from tests.stream_jobs.ingest.files import csv_file, packed, sale, xml_file
from tests.stream_jobs.world import World, job_process, running, wait_until

SALES = frozenset({"sales"})
ALL = frozenset(CONTENTS)


def with_ingest(world: World, **bounds: Any) -> Settings:
    return world.settings.model_copy(update={"ingest": IngestSettings(**bounds)})


def ingest(
    settings: Settings, store: BlobStore, contents: frozenset[str] = ALL
) -> Callable[[threading.Event], None]:
    return lambda stop: run_ingest(settings, store, contents, stop)


def deliver(desk: Desk, content: str, data: bytes, name: str | None = None) -> int:
    return desk.accept("acme", content, name or f"{content}.csv", io.BytesIO(data)).delivery_id


def ends_of(world: World, delivery_id: int) -> list[dict[str, Any]]:
    """The events that ended a delivery."""
    return [
        event
        for event in world.records("deliveries")
        if event["delivery_id"] == delivery_id and event["kind"] in ("closed", "rejected")
    ]


def wait_for_end(world: World, delivery_id: int) -> dict[str, Any]:
    wait_until(lambda: bool(ends_of(world, delivery_id)), f"the end of delivery {delivery_id}")
    (event,) = ends_of(world, delivery_id)
    return event


def positions(world: World, delivery_id: int) -> list[int]:
    return sorted(r["position"] for r in world.records("sales-input") if r["delivery_id"] == delivery_id)


def test_every_record_arrives_once_at_its_place_and_the_end_says_where(
    world: World, store: BlobStore, desk: Desk
) -> None:
    settings = with_ingest(world, chunk_rows=40)
    rows = [sale(n, quantity="many" if n == 7 else "1", sale_id=f"s{n % 90}") for n in range(100)]
    locations = [{"location_id": f"L{n}", "time_zone": "Nowhere" if n == 2 else "UTC"} for n in range(5)]
    with running(ingest(settings, store)):
        first = deliver(desk, "locations", csv_file(locations))
        second = deliver(desk, "sales", packed(xml_file(rows), "gzip"), "sales.xml.gz")
        empty = deliver(desk, "products", b"product_id,name\n")
        closed, master, nothing = (wait_for_end(world, number) for number in (second, first, empty))

    messages = world.messages("sales-input")
    records = [world.codecs["sales-input"].decode_record(message.value()) for message in messages]
    assert sorted(record["position"] for record in records) == list(range(1, 101))
    by_position = {record["position"]: record for record in records}
    assert by_position[8]["defect"].startswith("quantity: expected a number")
    assert 'quantity="many"' in by_position[8]["original"]
    assert [by_position[n]["repeated"] for n in (90, 91, 100)] == [False, True, True]

    keys = [(message.key() or b"").decode() for message in messages]
    assert keys == [f"acme/{record['location_id']}" for record in records]
    expected = partitions_of(pl.Series(keys), settings.sales_partitions).tolist()
    assert [message.partition() for message in messages] == expected
    for partition in set(expected):
        assert [
            r["position"] for m, r in zip(messages, records, strict=True) if m.partition() == partition
        ] == sorted(
            r["position"] for m, r in zip(messages, records, strict=True) if m.partition() == partition
        )

    assert (closed["kind"], closed["position"], closed["refused"]) == ("closed", 100, 0)
    last = {p: max(m.offset() or 0 for m in messages if m.partition() == p) for p in set(expected)}
    assert {(end["topic"], end["partition"]): end["offset"] for end in closed["ends"]} == {
        ("sales-input", partition): offset for partition, offset in last.items()
    }

    assert (master["position"], master["refused"]) == (5, 1)
    assert sorted(r["location_id"] for r in world.records("locations")) == ["L0", "L1", "L3", "L4"]
    (refused,) = world.records("sales-error")
    assert (refused["content"], refused["location_id"], refused["codes"]) == (
        "locations",
        "L2",
        ["bad_time_zone"],
    )
    assert refused["original"] == b"L2,Nowhere"
    (tally,) = world.records("delivery-tallies")
    assert (tally["delivery_id"], tally["valid"], tally["invalid"]) == (first, 4, 1)
    assert (nothing["kind"], nothing["position"], nothing["ends"]) == ("closed", 0, [])


def test_a_job_killed_at_any_moment_is_gone_on_with_and_nothing_is_there_twice(
    world: World, store: BlobStore, desk: Desk
) -> None:
    settings = with_ingest(world, chunk_rows=100)
    delivery_id = deliver(desk, "sales", csv_file([sale(n) for n in range(6_000)]))
    code = "from stream_jobs.ingest.job import run_ingest\nrun_ingest(settings, store, frozenset({'sales'}), stop)\n"

    def progress() -> int:
        return sum(event["kind"] == "progress" for event in world.records("deliveries"))

    kills = 0
    for moment in (1, 8, 20):
        process = job_process(settings, code)
        try:
            wait_until(lambda moment=moment: progress() >= moment, f"progress {moment}")  # type: ignore[misc]
        finally:
            process.kill()
            process.wait()
        kills += not ends_of(world, delivery_id)
    assert kills >= 1, "the job was never killed half-way"
    with running(ingest(settings, store, SALES)):
        closed = wait_for_end(world, delivery_id)
    assert closed["position"] == 6_000
    assert positions(world, delivery_id) == list(range(1, 6_001))
    assert not any(record["repeated"] for record in world.records("sales-input"))


def test_a_job_that_is_told_to_stop_leaves_a_delivery_that_the_next_one_ends(
    world: World, store: BlobStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_ingest(world, chunk_rows=10)
    delivery_id = deliver(desk, "sales", csv_file([sale(n) for n in range(100)]))
    stop, chunks = threading.Event(), job.chunks_of

    def stopping(*arguments: Any) -> Any:
        for number, chunk in enumerate(chunks(*arguments)):
            if number == 4:
                stop.set()
            yield chunk

    monkeypatch.setattr(job, "chunks_of", stopping)
    run_ingest(settings, store, SALES, stop)
    monkeypatch.undo()
    assert not ends_of(world, delivery_id)
    assert 0 < len(positions(world, delivery_id)) < 100
    with running(ingest(settings, store, SALES)):
        wait_for_end(world, delivery_id)
    assert positions(world, delivery_id) == list(range(1, 101))


def test_a_second_job_of_a_content_fences_the_first(world: World, store: BlobStore, desk: Desk) -> None:
    settings = with_ingest(world, chunk_rows=10)
    with (
        pytest.raises(FencedError, match="another process"),
        running(ingest(settings, store, SALES)) as first,
    ):
        before = deliver(desk, "sales", csv_file([sale(1)]))
        wait_for_end(world, before)
        with running(ingest(settings, store, ALL)):
            # The second has fenced the first before it reads anything: a file of its own says that it has.
            wait_for_end(world, deliver(desk, "events", b"event_id,date\nE,2026-01-01\n"))
            delivery_id = deliver(desk, "sales", csv_file([sale(n) for n in range(50)]))
            wait_for_end(world, delivery_id)
            wait_until(lambda: not first.is_alive(), "the end of the first job")
    assert positions(world, delivery_id) == list(range(1, 51))


def test_a_file_that_breaks_half_way_is_rejected_with_its_place_and_the_next_is_read(
    world: World, store: BlobStore, desk: Desk
) -> None:
    settings = with_ingest(world, chunk_rows=20, record_bytes_max=1_000)
    broken = xml_file([sale(n) for n in range(200)]).replace(b'sale_id="s150"', b'sale_id="s150')
    first = deliver(desk, "sales", broken, "sales.xml")
    second = deliver(desk, "sales", b"sale_id;location_id\n1;2\n")
    third = deliver(desk, "sales", csv_file([sale(1)]))
    with running(ingest(settings, store, SALES)):
        events = [wait_for_end(world, number) for number in (first, second, third)]
    assert [event["kind"] for event in events] == ["rejected", "rejected", "closed"]
    assert events[0]["reason"].startswith("line 153, column")
    written = positions(world, first)
    assert written == list(range(1, events[0]["position"] + 1))
    assert 100 < len(written) < 150
    assert events[0]["ends"], "readers must be able to wait for what a rejected delivery wrote"
    assert "missing product_id, sold_at, quantity" in events[1]["reason"]


def test_a_fault_in_a_reader_costs_its_file_only(
    world: World, store: BlobStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_blocks = job.read_blocks

    def faulty(file: Any, content: Any, file_format: str, *rest: Any) -> Any:
        if file_format == "jsonl":
            raise IndexError("a bug")
        return read_blocks(file, content, file_format, *rest)

    monkeypatch.setattr(job, "read_blocks", faulty)
    first = deliver(desk, "sales", b"{}\n", "sales.jsonl")
    second = deliver(desk, "sales", csv_file([sale(1)]))
    with running(ingest(world.settings, store, SALES)):
        assert "a fault in Headrace itself" in wait_for_end(world, first)["reason"]
        assert wait_for_end(world, second)["kind"] == "closed"


def test_a_job_reads_its_own_contents_only_and_unknown_ones_are_refused(
    world: World, store: BlobStore, desk: Desk
) -> None:
    sales = deliver(desk, "sales", csv_file([sale(1)]))
    master = deliver(desk, "locations", b"location_id\nL1\n")
    with running(ingest(world.settings, store, MASTER_CONTENTS)):
        wait_for_end(world, master)
    assert not ends_of(world, sales)
    with pytest.raises(FaultError, match="expected some of sales"):
        run_ingest(world.settings, store, frozenset({"orders"}), threading.Event())
