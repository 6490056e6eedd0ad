"""Columns, repeats, master rules and chunks: the pure middle of ingest."""

import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stream_jobs.deliveries import Delivery
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.chunks import Chunk, chunks_of
from stream_jobs.ingest.contents import CONTENTS
from stream_jobs.ingest.master_rules import time_zones
from stream_jobs.ingest.readers import read_blocks
from stream_jobs.ingest.repeats import Repeats
from tests.stream_jobs.ingest.files import LIMITS, Row, csv_file, limits, read, sale

PRICE = {"location_id": "L", "product_id": "P", "valid_from": "2020-02-02"}
NOW = datetime(2026, 5, 2, tzinfo=UTC)


def chunks(
    data: bytes, content: str = "sales", position: int = 0, bounds: Limits = LIMITS, file_format: str = "csv"
) -> Iterator[Chunk]:
    delivery = Delivery(
        9, "acme", "d", content, file_format, None, "n", len(data), "b", NOW, position=position
    )
    blocks = read_blocks(io.BytesIO(data), CONTENTS[content], file_format, None, bounds)
    return chunks_of(blocks, delivery, CONTENTS[content], bounds, NOW)


def only(rows: list[Row], content: str) -> Chunk:
    (chunk,) = chunks(csv_file(rows), content)
    return chunk


@pytest.mark.parametrize(
    ("text", "hour_utc"),
    [
        ("2026-05-01T12:00:00Z", 12),
        ("2026-05-01T12:00:00z", 12),
        ("2026-05-01T12:00:00.250+02:00", 10),
        ("2026-05-01T12:00:00+0200", 10),
        ("2026-05-01T12:00:00+02", 10),
        ("2026-05-01 12:00:00", 12),
        (" 2026-05-01T12:00 ", 12),
        ("2026-05-01T12:00-03:00", 15),
    ],
)
def test_times_are_read_with_their_offset_and_as_utc_without(text: str, hour_utc: int) -> None:
    found = read(csv_file([sale(1, sold_at=text), sale(2)]), "csv")
    assert found["defect"].null_count() == 2
    assert found["sold_at"][0].replace(microsecond=0) == datetime(2026, 5, 1, hour_utc, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2026-05-01T25:00:00Z", "2026-02-30T10:00:00Z", "26-05-01T10:00:00Z", "9999-01-01T00:00:00Z", "noon"],
)
def test_times_that_cannot_be_meant_are_defects(text: str) -> None:
    found = read(csv_file([sale(1, sold_at=text)]), "csv")
    assert found["sold_at"][0] is None
    assert text in found["defect"][0]


def test_flags_are_true_or_false_in_any_case_and_nothing_else() -> None:
    rows = [sale(n, voided=text) for n, text in enumerate(["true", "TRUE", "1", "false", "0", "", "ja"])]
    found = read(csv_file(rows), "csv")
    assert found["voided"].to_list() == [True, True, True, False, False, False, False]
    assert found["defect"].is_null().to_list() == [True] * 6 + [False]


def test_blank_text_is_missing_and_white_space_around_a_value_is_dropped() -> None:
    found = read(csv_file([sale(1, location_id="  ", product_id=" P 1 ")]), "csv")
    assert (found["location_id"][0], found["product_id"][0]) == (None, "P 1")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from([None, *"abcdefgh"]), max_size=6), max_size=12))
def test_repeats_are_what_a_set_says(batches: list[list[str | None]]) -> None:
    repeats, seen = Repeats(), set[str]()
    for batch in batches:
        expected = []
        for name in batch:
            expected.append(name is not None and name in seen)
            seen |= {name} - {None}  # type: ignore[arg-type]
        assert repeats.mark(pl.Series(batch, dtype=pl.String)).to_list() == expected


def test_repeats_hold_over_many_runs_of_many_ids() -> None:
    repeats = Repeats()
    for start in range(0, 200_000, 10_000):
        ids = pl.int_range(start, start + 10_000, eager=True).cast(pl.String)
        assert not repeats.mark(ids).any()
    again = repeats.mark(pl.Series(["7", "199999", "200000", "123456"]))
    assert again.to_list() == [True, True, False, True]


def test_records_carry_where_they_come_from_and_which_repeat() -> None:
    found = only([sale(1), sale(2), sale(1), sale(3, quantity="many")], "sales").records
    assert found["position"].to_list() == [1, 2, 3, 4]
    assert found["repeated"].to_list() == [False, False, True, False]
    assert found.select("customer_id", "delivery_id", "received_at").unique().rows() == [("acme", 9, NOW)]
    assert found["original"].to_list()[:3] == [None] * 3
    assert found["original"][3] == "s3,L0,P1,2026-05-01T12:00:00+02:00,many,1.5"


@pytest.mark.parametrize("content", ["sales", "products"])
def test_reading_on_behind_any_position_gives_the_rest_of_the_same_records(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", 300)
    if content == "sales":
        rows = [sale(number % 20, quantity="x" if number % 7 == 0 else "1") for number in range(30)]
    else:
        rows = [{"product_id": f"P{number}" if number % 7 else "", "name": "n"} for number in range(30)]
    data, bounds = csv_file(rows), limits(chunk_rows=8)
    whole = list(chunks(data, content, bounds=bounds))
    assert max(chunk.records.height + chunk.refused.height for chunk in whole) <= 8
    records = pl.concat([chunk.records for chunk in whole])
    refused = pl.concat([chunk.refused for chunk in whole])
    if content == "sales":
        # Repeats are found across blocks and chunks.
        assert records["repeated"].to_list() == [position > 20 for position in records["position"]]
    for position in (*range(0, 30, 4), 29, 30):
        rest = list(chunks(data, content, position=position, bounds=bounds))
        assert [chunk.last_position for chunk in rest][-1:] == ([30] if position < 30 else [])
        if rest:
            found = pl.concat([chunk.records for chunk in rest])
            assert_frame_equal(found, records.filter(pl.col("position") > position))
        if rest and content == "products":
            found = pl.concat([chunk.refused for chunk in rest])
            assert_frame_equal(found, refused.filter(pl.col("position") > position))


def test_a_chunk_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", 300)
    monkeypatch.setattr("stream_jobs.ingest.chunks.CHUNK_BYTES_MAX", 2_000)
    found = list(chunks(csv_file([sale(number) for number in range(100)])))
    assert len(found) > 1
    assert found[-1].last_position == 100


@pytest.mark.parametrize(
    ("content", "row", "codes"),
    [
        ("locations", {"location_id": "", "name": "N"}, ["missing_field"]),
        ("locations", {"location_id": "L", "opened_on": "soon"}, ["unreadable_record"]),
        ("locations", {"location_id": "L", "time_zone": "Mars/Olympus"}, ["bad_time_zone"]),
        ("locations", {"location_id": "L", "currency": "Euro"}, ["bad_currency"]),
        (
            "locations",
            {"location_id": "L", "opened_on": "2020-02-02", "closed_on": "2020-02-01"},
            ["bad_date"],
        ),
        ("products", {"product_id": "", "introduced_on": "2020-02-02", "ended_on": "2020-02-01"},
         ["missing_field", "bad_date"]),
        ("prices", {**PRICE, "unit_price": "-1"}, ["bad_price"]),
        ("prices", {**PRICE, "unit_price": "inf"}, ["not_finite"]),
        ("prices", {**PRICE, "location_id": "L/1"}, ["bad_id"]),
        ("prices", {**PRICE, "valid_from": ""}, ["missing_field"]),
        ("events", {"event_id": "E", "date": "2026-13-01"}, ["unreadable_record"]),
    ],
)  # fmt: skip
def test_wrong_master_data_are_refused_with_every_reason(content: str, row: Row, codes: list[str]) -> None:
    chunk = only([row], content)
    assert chunk.records.is_empty()
    refused = chunk.refused.row(0, named=True)
    assert refused["codes"] == codes
    assert len(refused["messages"]) == len(codes)
    assert all("found" in message or "missing" in message for message in refused["messages"])
    assert refused["original"].decode() == ",".join(row.values())
    assert (refused["content"], refused["position"]) == (content, 1)
    (count,) = chunk.tally.values()
    assert (count.valid, count.invalid, dict(count.by_code)) == (0, 1, Counter(codes))


def test_good_master_data_are_counted_as_valid() -> None:
    chunk = only(
        [{"location_id": "L1", "currency": "EUR"}, {"location_id": "", "currency": "EUR"}], "locations"
    )
    assert chunk.records["location_id"].to_list() == ["L1"]
    ((key, count),) = chunk.tally.items()
    assert (key, count.valid, count.invalid) == (("acme", 9), 1, 1)


def test_every_time_zone_that_is_accepted_can_be_computed_with() -> None:
    assert "localtime" not in time_zones()
    assert {"UTC", "Europe/Berlin", "America/New_York"} <= time_zones()
    for zone in sorted(time_zones()):
        assert pl.Series([NOW]).dt.convert_time_zone(zone).len() == 1
