"""Versions of master data, compared with a naive twin."""

import logging

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_jobs.master_tables import UNKNOWN, MasterTables, VersionedTable, coded, coded_keys, master_keys

OFFSETS = pl.int_range(1000, eager=True)
Records = list[tuple[str, int, int]]


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 2)), max_size=30),
    batch=st.integers(1, 7),
    cut=st.integers(0, 30),
    asked=st.lists(st.tuples(st.sampled_from([*"abcd", None]), st.integers(0, 7)), min_size=1, max_size=20),
)
def test_a_look_up_finds_the_newest_version_before_the_delivery_also_when_restored_on_the_way(
    records: Records, batch: int, cut: int, asked: list[tuple[str | None, int]]
) -> None:
    records = sorted(records, key=lambda record: record[1])
    table = VersionedTable({"value": pl.Int64()})
    for start in range(0, len(records), batch):
        names, deliveries, values = zip(*records[start : start + batch], strict=True)
        table.add(
            pl.Series(names, dtype=pl.String),
            pl.Series(deliveries, dtype=pl.Int64),
            pl.int_range(start, start + len(names), eager=True),
            pl.DataFrame({"value": pl.Series(values, dtype=pl.Int64)}),
        )
        if start == cut:
            table = VersionedTable.restored({"value": pl.Int64()}, table.capture()())
    wanted = []
    for key, delivery in asked:
        earlier = [value for name, brought, value in records if name == key and brought < delivery]
        wanted.append(earlier[-1] if earlier else None)
    keys = pl.Series([key for key, _ in asked], dtype=pl.String)
    rows = table.lookup(coded(keys), pl.Series([delivery for _, delivery in asked], dtype=pl.Int64))
    assert table.gather(rows)["value"].to_list() == wanted


def test_a_delivery_that_repeats_what_is_known_adds_no_version() -> None:
    table = VersionedTable({"value": pl.Int64(), "text": pl.String()})
    attributes = pl.DataFrame(
        {"value": range(1000), "text": [None] * 1000}, schema={"value": pl.Int64, "text": pl.String}
    )
    keys = pl.Series([f"k{number}" for number in range(1000)])
    for delivery in range(5):
        table.add(keys, pl.Series([delivery] * 1000), OFFSETS, attributes)
    assert (len(table), table.keys) == (1000, 1000)
    table.add(keys, pl.Series([9] * 1000), OFFSETS, attributes.with_columns(pl.lit("new").alias("text")))
    assert len(table) == 2000
    seen = table.gather(table.lookup(coded(pl.Series(["k3", "k3"])), pl.Series([9, 10])))
    assert seen["text"].to_list() == [None, "new"]


def test_chunks_stay_few_however_small_the_batches_are() -> None:
    table = VersionedTable({"value": pl.Int64()})
    for number in range(300):
        table.add(
            pl.Series([f"k{number}"]), pl.Series([1]), pl.Series([number]), pl.DataFrame({"value": [number]})
        )
    assert len(table._chunks) < 12
    rows = table.lookup(coded(pl.Series([f"k{n}" for n in range(300)])), pl.Series([2] * 300))
    assert table.gather(rows)["value"].to_list() == list(range(300))


def test_a_location_without_a_time_zone_that_exists_is_passed_over_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tables = MasterTables.empty()
    frame = pl.DataFrame(
        {
            "customer_id": "acme",
            "delivery_id": [1, 1],
            "location_id": ["L1", "L2"],
            "name": None,
            "region": None,
            "kind": None,
            "time_zone": ["Mars/Base", "Europe/Berlin"],
            "currency": None,
            "opened_on": None,
            "closed_on": None,
        }
    )
    with caplog.at_level(logging.ERROR):
        tables.add_locations(frame, pl.Series([0, 1]))
    found = tables.locations.lookup(coded_keys(frame, "location_id"), pl.Series([2, 2]))
    assert (found == np.array([UNKNOWN, 0])).all()
    assert "'Mars/Base' is no IANA time zone" in caplog.text


@given(
    rows=st.lists(st.tuples(st.sampled_from(["acme", "other"]), st.sampled_from([*"abc", None])), max_size=12)
)
def test_coded_keys_are_the_keys(rows: list[tuple[str, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"customer_id": pl.String, "product_id": pl.String}, orient="row")
    keys = coded_keys(frame, "product_id")
    assert [[*keys.names, None][code] for code in keys.codes] == master_keys(frame, "product_id").to_list()
    assert len(set(keys.names)) == len(keys.names)


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 2)), max_size=20),
    delivery=st.none() | st.integers(0, 6),
    offset=st.none() | st.integers(0, 20),
)
def test_a_table_as_of_a_delivery_or_an_offset_is_what_was_known_then(
    records: Records, delivery: int | None, offset: int | None
) -> None:
    records = sorted(records, key=lambda record: record[1])
    table = VersionedTable({"value": pl.Int64()})
    for at, (name, brought, value) in enumerate(records):
        table.add(
            pl.Series([f"acme/{name}"]),
            pl.Series([brought]),
            pl.Series([at]),
            pl.DataFrame({"value": [value]}),
        )
    known: dict[str, int] = {}
    for at, (name, brought, value) in enumerate(records):
        if (delivery is None or brought < delivery) and (offset is None or at < offset):
            known[name] = value
    found = table.newest("acme", delivery, offset)
    assert dict(found.select("id", "value").rows()) == known
    assert table.newest("acm", delivery, offset).is_empty()
