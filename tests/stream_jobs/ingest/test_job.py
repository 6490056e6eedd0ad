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
from stream_jobs.ingest.accept import Desk
from stream_jobs.ingest.chunks import chunks_of
from stream_jobs.ingest.contents import CONTENTS, MASTER_CONTENTS
from stream_jobs.ingest.job import run_ingest
from stream_jobs.ingest.readers import read_blocks
from tests.running import job_process, running_job, wait_until
from tests.stream_jobs.ingest.files import csv_file, packed, sale, xml_file
from tests.stream_jobs.ingest.installation import Installation

SALES = frozenset({"sales"})
ALL = frozenset(CONTENTS)

Deliver = Callable[[str, bytes, str], int]

INGEST = (
    "from stream_jobs.ingest.job import run_ingest\nrun_ingest(settings, store, frozenset({'sales'}), stop)"
)


def bounded(installation: Installation, **bounds: Any) -> Settings:
    return installation.settings.model_copy(update={"ingest": IngestSettings(**bounds)})


def ingest(
    settings: Settings, store: BlobStore, contents: frozenset[str] = SALES
) -> Callable[[threading.Event], None]:
    return lambda stop: run_ingest(settings, store, contents, stop)


@pytest.fixture
def deliver(desk: Desk, customer: str) -> Deliver:
    """Hands a file in (content, bytes, extension) and returns its delivery id."""
    return lambda content, data, extension: (
        desk.accept(customer, content, f"{content}.{extension}", io.BytesIO(data)).delivery_id
    )


def test_every_sale_arrives_once_at_its_place_and_the_end_says_where(
    installation: Installation, store: BlobStore, deliver: Deliver, customer: str
) -> None:
    settings = bounded(installation, chunk_rows=40)
    rows = [sale(n, quantity="many" if n == 7 else "1", sale_id=f"s{n % 90}") for n in range(100)]
    with running_job(ingest(settings, store)):
        delivery_id = deliver("sales", packed(xml_file(rows), "gzip"), "xml.gz")
        closed = installation.wait_for_end(delivery_id)
    found = [
        (message, record)
        for message in installation.messages("sales-input")
        if (record := installation.record("sales-input", message))["delivery_id"] == delivery_id
    ]
    by_position = {record["position"]: record for _, record in found}
    assert len(found) == 100
    assert sorted(by_position) == list(range(1, 101))
    assert by_position[8]["defect"].startswith("quantity: expected a number")
    assert 'quantity="many"' in by_position[8]["original"]
    assert [by_position[n]["repeated"] for n in (90, 91, 100)] == [False, True, True]

    keys = [(message.key() or b"").decode() for message, _ in found]
    assert keys == [f"{customer}/{record['location_id']}" for _, record in found]
    expected = partitions_of(pl.Series(keys), settings.sales_partitions).tolist()
    assert [message.partition() for message, _ in found] == expected
    last: dict[tuple[str, int], int] = {}
    for partition in set(expected):
        there = [(message, record) for message, record in found if message.partition() == partition]
        assert [record["position"] for _, record in there] == sorted(r["position"] for _, r in there)
        last["sales-input", partition] = max(message.offset() or 0 for message, _ in there)
    assert (closed["kind"], closed["position"], closed["refused"]) == ("closed", 100, 0)
    assert {(end["topic"], end["partition"]): end["offset"] for end in closed["ends"]} == last
    assert installation.kinds(delivery_id) == ["progress", "progress", "closed"]


def test_master_data_are_judged_counted_and_closed_in_the_same_breath(
    installation: Installation, store: BlobStore, deliver: Deliver
) -> None:
    rows = [{"location_id": f"L{n}", "time_zone": "Nowhere" if n == 2 else "UTC"} for n in range(5)]
    price = b"location_id,product_id,valid_from,unit_price\nL,P,2026-05-01,2.5\nL,P,2026-05-02,-1\n"
    with running_job(ingest(installation.settings, store, MASTER_CONTENTS)):
        locations = deliver("locations", csv_file(rows), "csv")
        prices = deliver("prices", price, "csv")
        empty = deliver("products", b"product_id,name\n", "csv")
        closed, _, nothing = (installation.wait_for_end(number) for number in (locations, prices, empty))
    assert (closed["position"], closed["refused"]) == (5, 1)
    assert {end["topic"] for end in closed["ends"]} == {"locations", "sales-error", "delivery-tallies"}
    assert (nothing["kind"], nothing["position"], nothing["ends"]) == ("closed", 0, [])
    kept = installation.records("locations", locations)
    assert [record["location_id"] for record in kept] == ["L0", "L1", "L3", "L4"]
    (refused,) = installation.records("sales-error", locations)
    assert (refused["content"], refused["location_id"]) == ("locations", "L2")
    assert (refused["codes"], refused["original"]) == (["bad_time_zone"], b"L2,Nowhere")
    (tally,) = installation.records("delivery-tallies", locations)
    assert (tally["valid"], tally["invalid"], tally["by_code"]) == (4, 1, {"bad_time_zone": 1})
    (kept_price,) = installation.records("prices", prices)
    assert kept_price["unit_price"] == 2.5
    (key,) = {
        (message.key() or b"").decode().split("/", 1)[1]
        for message in installation.messages("prices")
        if installation.record("prices", message)["delivery_id"] == prices
    }
    assert key == "L/P/2026-05-01"


def test_a_job_killed_at_any_moment_is_gone_on_with_and_nothing_is_there_twice(
    installation: Installation, store: BlobStore, deliver: Deliver
) -> None:
    settings = bounded(installation, chunk_rows=100)
    delivery_id = deliver("sales", csv_file([sale(n) for n in range(6_000)]), "csv")
    kills = 0
    for moment in (1, 20):
        process = job_process(settings, INGEST)
        try:
            wait_until(
                lambda moment=moment: len(installation.kinds(delivery_id)) >= moment,  # type: ignore[misc]
                f"event {moment}",
            )
        finally:
            process.kill()
            process.wait()
        kills += "closed" not in installation.kinds(delivery_id)
    assert kills, "the job was never killed half-way"
    with running_job(ingest(settings, store)):
        assert installation.wait_for_end(delivery_id)["position"] == 6_000
    records = installation.records("sales-input", delivery_id)
    assert sorted(record["position"] for record in records) == list(range(1, 6_001))
    assert not any(record["repeated"] for record in records)


def test_a_job_that_is_told_to_stop_leaves_a_delivery_that_the_next_one_ends(
    installation: Installation, store: BlobStore, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bounded(installation, chunk_rows=10)
    delivery_id = deliver("sales", csv_file([sale(n) for n in range(100)]), "csv")
    stop = threading.Event()

    def stopping(*arguments: Any) -> Any:
        for number, chunk in enumerate(chunks_of(*arguments)):
            if number == 4:
                stop.set()
            yield chunk

    monkeypatch.setattr("stream_jobs.ingest.job.chunks_of", stopping)
    run_ingest(settings, store, SALES, stop)
    monkeypatch.undo()
    assert 0 < len(installation.positions(delivery_id)) < 100
    assert "closed" not in installation.kinds(delivery_id)
    with running_job(ingest(settings, store)):
        installation.wait_for_end(delivery_id)
    assert installation.positions(delivery_id) == list(range(1, 101))


def test_a_second_job_of_a_content_fences_the_first(
    installation: Installation, store: BlobStore, deliver: Deliver
) -> None:
    settings = bounded(installation, chunk_rows=10)
    fenced: list[FencedError] = []

    def first(stop: threading.Event) -> None:
        try:
            run_ingest(settings, store, SALES, stop)
        except FencedError as error:
            fenced.append(error)

    with running_job(first) as thread:
        installation.wait_for_end(deliver("sales", csv_file([sale(1)]), "csv"))
        with running_job(ingest(settings, store, ALL)):
            # Once it has read a file of its own, the second is known to have fenced the first.
            installation.wait_for_end(deliver("events", b"event_id,date\nE,2026-01-01\n", "csv"))
            delivery_id = deliver("sales", csv_file([sale(n) for n in range(50)]), "csv")
            installation.wait_for_end(delivery_id)
            wait_until(lambda: not thread.is_alive(), "the end of the first job")
    assert "another process" in str(fenced[0])
    assert installation.positions(delivery_id) == list(range(1, 51))


def test_a_file_that_breaks_half_way_is_rejected_with_its_place_and_the_next_is_read(
    installation: Installation, store: BlobStore, deliver: Deliver
) -> None:
    settings = bounded(installation, chunk_rows=20, record_bytes_max=1_000)
    broken = xml_file([sale(n) for n in range(200)]).replace(b'sale_id="s150"', b"& <")
    first = deliver("sales", broken, "xml")
    second = deliver("sales", b"sale_id;location_id\n1;2\n", "csv")
    third = deliver("sales", csv_file([sale(1)]), "csv")
    with running_job(ingest(settings, store)):
        events = [installation.wait_for_end(number) for number in (first, second, third)]
    assert [event["kind"] for event in events] == ["rejected", "rejected", "closed"]
    assert events[0]["reason"].startswith("line 153, column")
    written = installation.positions(first)
    assert written == list(range(1, events[0]["position"] + 1))
    assert 100 < len(written) < 150
    assert events[0]["ends"], "readers must be able to wait for what a rejected delivery wrote"
    assert "missing product_id, sold_at, quantity" in events[1]["reason"]


def test_a_fault_in_a_reader_costs_its_file_only(
    installation: Installation, store: BlobStore, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(file: Any, content: Any, file_format: str, *rest: Any) -> Any:
        if file_format == "jsonl":
            raise IndexError("a bug")
        return read_blocks(file, content, file_format, *rest)

    monkeypatch.setattr("stream_jobs.ingest.job.read_blocks", faulty)
    first = deliver("sales", b"{}\n", "jsonl")
    second = deliver("sales", csv_file([sale(1)]), "csv")
    with running_job(ingest(installation.settings, store)):
        assert "a fault in Headrace itself" in installation.wait_for_end(first)["reason"]
        assert installation.wait_for_end(second)["kind"] == "closed"


def test_a_job_reads_its_own_contents_only_and_unknown_ones_are_refused(
    installation: Installation, store: BlobStore, deliver: Deliver
) -> None:
    sales = deliver("sales", csv_file([sale(1)]), "csv")
    master = deliver("locations", b"location_id\nL1\n", "csv")
    with running_job(ingest(installation.settings, store, MASTER_CONTENTS)):
        installation.wait_for_end(master)
    assert installation.kinds(sales) == []
    with pytest.raises(FaultError, match="expected some of sales"):
        run_ingest(installation.settings, store, frozenset({"orders"}), threading.Event())
