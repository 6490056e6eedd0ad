"""Reading the lake as a data scientist and a service do."""

import datetime as dt

import pandas as pd
import polars as pl
import pytest

from infra.blobs import DirectoryStore
from infra.errors import CorruptLakeError, FaultError, NotFoundError
from lake.append import AppendTable
from lake.read import Lake
from lake.seal import seal
from schemas.lake_tables import LAKE_TABLES, RAW_TABLES, polars_schema
from tests.lake.frames import DAY, NOON, append, sale

NOW = NOON + dt.timedelta(days=30)


def days(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


@pytest.fixture
def lake(store: DirectoryStore) -> Lake:
    lines = [sale(sale_id=str(n), position=n, sold_on=days(n), customer_id="007") for n in range(5)]
    append(AppendTable(store, "sales_joined"), 0, lines)
    seal(store, "007", NOW)
    return Lake(store)


def test_both_ends_of_a_range_of_days_are_included(lake: Lake) -> None:
    assert lake.sales("007", days(1), days(3)).polars()["sold_on"].to_list() == [days(1), days(2), days(3)]
    assert lake.daily("007", start=days(4)).polars()["sold_on"].to_list() == [days(4)]
    assert lake.daily("007", end=days(-1)).polars().is_empty()


def test_every_library_gets_the_types_of_the_schema(lake: Lake) -> None:
    table = LAKE_TABLES["sales_sealed"]
    rows = lake.sales("007")
    assert dict(rows.polars().schema) == polars_schema(table.schema)
    assert rows.arrow().schema.equals(table.schema, check_metadata=True)
    frame = rows.pandas()
    assert list(frame.columns) == table.schema.names
    assert frame["sold_on"].min() == pd.Timestamp(DAY)
    assert set(frame["customer_id"]) == {"007"}
    assert dict(lake.sales("007", end=days(-1)).polars().schema) == polars_schema(table.schema)


def test_a_query_reads_only_what_it_asks_for(lake: Lake) -> None:
    query = lake.sales("007").lazy().filter(pl.col("sold_on") == days(2)).select("sale_id")
    assert query.collect()["sale_id"].to_list() == ["2"]
    assert "PROJECT 1" in query.explain() or "PROJECT 2" in query.explain()


def test_what_was_never_sealed_is_said_to_be_missing(lake: Lake) -> None:
    assert lake.customers() == ["007"]
    assert lake.manifests("007") == [1]
    for ask in (
        lambda: lake.sales("other"),
        lambda: lake.sales("007", as_of=2),
        lambda: lake.manifest("other"),
    ):
        with pytest.raises(NotFoundError, match="manifest"):
            ask()
    with pytest.raises(FaultError, match="007"):
        lake.sales("acme", as_of=lake.manifest("007"))


def test_the_raw_tables_are_read_with_their_day_of_arrival(lake: Lake) -> None:
    frame = lake.raw("sales_joined").polars()
    assert frame["arrived_on"].unique().to_list() == [DAY]
    assert lake.raw("sales_joined", days(1)).polars().is_empty()
    for name in RAW_TABLES:
        assert lake.raw(name).polars().columns == [*LAKE_TABLES[name].file_schema.names, "arrived_on"]
        assert lake.raw(name).arrow().num_columns == len(LAKE_TABLES[name].file_schema) + 1
    with pytest.raises(FaultError, match="sales_sealed"):
        lake.raw("sales_sealed")


def refused(**values: object) -> dict[str, object]:
    return {
        "customer_id": "007",
        "delivery_id": 4,
        "position": 1,
        "content": "sales",
        "codes": ["bad_price"],
        "messages": ["expected a price"],
        "original": b"\x00raw",
        "source_topic": "sales-input",
        "source_partition": 0,
        "source_offset": 0,
        "judged_at": NOON,
        **values,
    }


def test_the_errors_of_a_delivery_are_paged_by_position(lake: Lake) -> None:
    table = AppendTable(lake.store, "sales_error")
    for partition in range(2):
        append(table, partition, [refused(position=2 * n + partition) for n in range(10)])
    append(
        table,
        0,
        [refused(delivery_id=5), refused(customer_id="x"), refused(customer_id=None, delivery_id=None)],
    )
    page, total = lake.errors("007", 4, offset=3, limit=4)
    assert (page["position"].to_list(), total) == ([3, 4, 5, 6], 20)
    assert page.row(0, named=True)["original"] == b"\x00raw"
    assert page.columns == LAKE_TABLES["sales_error"].schema.names
    assert lake.errors("007", 4, received_on=days(1))[1] == 0
    assert lake.errors("007", 6)[1] == 0
    assert lake.errors("007", 4, offset=100)[0].is_empty()


def test_a_file_that_is_no_parquet_is_told_as_corrupt(lake: Lake) -> None:
    (file,) = AppendTable(lake.store, "sales_joined").files()
    lake.store.replace(file.path, b"PAR1 but nothing else PAR1")
    with pytest.raises(CorruptLakeError, match="headrace lake verify"):
        lake.raw("sales_joined").polars()
