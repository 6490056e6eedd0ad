"""Append-once tables: one flush, one object, one commit."""

import datetime as dt
import threading
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from infra.blobs import DirectoryStore
from infra.errors import AlreadyExistsError, CorruptLakeError, FaultError
from lake.append import AppendTable, ChainEnd, RawFile
from schemas.lake_tables import LAKE_TABLES
from tests.lake.frames import DAY, NOON, append, rows, sale, void


@pytest.fixture
def table(store: DirectoryStore) -> AppendTable:
    return AppendTable(store, "sales_joined")


def test_the_chain_of_a_partition_that_was_never_written_has_no_end(table: AppendTable) -> None:
    append(table, 1, [sale()])
    assert table.chain_end(0) is None


def test_a_writer_goes_on_where_the_chain_ends(table: AppendTable) -> None:
    end = table.append(3, 10, 25, NOON, rows("sales_joined", [sale()]), None)
    assert end == ChainEnd(25, DAY)
    assert table.chain_end(3) == end
    assert table.files() == [
        RawFile(f"sales_joined/arrived_on={DAY}/p0003-00000000000000000010.parquet", 3, 10, DAY)
    ]


def test_the_second_of_two_writers_gets_exists_and_leaves_no_second_row(table: AppendTable) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def write(quantity: float) -> None:
        barrier.wait()
        try:
            table.append(0, 0, 5, NOON, rows("sales_joined", [sale(quantity=quantity)]), None)
            outcomes.append("won")
        except AlreadyExistsError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(float(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
    assert len(pl.read_parquet(table.store.uri("sales_joined"))) == 1


def test_a_stale_writer_that_wakes_on_a_later_day_still_meets_the_others_file(table: AppendTable) -> None:
    previous = append(table, 0, [sale()])
    late = NOON + dt.timedelta(days=3)
    end = table.append(0, previous.next_offset, 9, late, rows("sales_joined", [sale()]), previous)
    table.append(0, end.next_offset, 20, late, rows("sales_joined", [sale()]), end)
    with pytest.raises(AlreadyExistsError):
        table.append(0, previous.next_offset, 30, late, rows("sales_joined", [sale()]), previous)


def test_a_clock_that_goes_back_does_not_hide_the_chains_end(table: AppendTable) -> None:
    append(table, 0, [sale()], NOON)
    end = append(table, 0, [sale()], NOON - dt.timedelta(days=40))
    assert end.arrived_on == DAY
    assert table.chain_end(0) == end


def test_the_end_is_found_behind_newer_days_of_other_partitions(table: AppendTable) -> None:
    quiet = append(table, 0, [sale()], NOON)
    for days in range(1, 4):
        append(table, 1, [sale()], NOON + dt.timedelta(days=days))
    assert table.chain_end(0) == quiet
    assert [file.partition for file in table.files(DAY + dt.timedelta(days=2))] == [1, 1]


def test_rows_that_do_not_fit_are_refused_with_the_columns_named(table: AppendTable) -> None:
    good = rows("sales_joined", [sale()])
    wrong = good.drop("region").with_columns(pl.col("position").cast(pl.Int32), extra=pl.lit(1))
    with pytest.raises(
        FaultError, match=r"sales_joined.*region.*extra.*position: expected Int64, found Int32"
    ):
        table.append(0, 0, 1, NOON, wrong, None)
    with pytest.raises(FaultError, match="customer_id: expected no nulls, found 1"):
        table.append(0, 0, 1, NOON, rows("sales_joined", [sale(customer_id=None)]), None)
    with pytest.raises(FaultError, match="sold_on: expected no nulls, found 1"):
        table.append(0, 0, 1, NOON, rows("sales_joined", [{**sale(), "sold_on": None}]), None)
    table.append(0, 0, 1, NOON, rows("sales_joined", [void()]), None)
    assert len(table.files()) == 1


def test_offsets_that_do_not_follow_the_chain_are_refused(table: AppendTable) -> None:
    end = append(table, 0, [sale()])
    frame = rows("sales_joined", [sale()])
    for first, following, why in ((0, 9, "first offset"), (9, 9, "first offset")):
        with pytest.raises(FaultError, match=why):
            table.append(0, first, following, NOON, frame, end)
    with pytest.raises(FaultError, match="rows"):
        table.append(0, 5, 6, NOON, frame.clear(), end)
    with pytest.raises(FaultError, match="zone"):
        table.append(0, 5, 6, NOON.replace(tzinfo=None), frame, end)


def test_four_readers_of_the_raw_folder_agree(store: DirectoryStore) -> None:
    table = AppendTable(store, "sales_joined")
    for day in range(3):
        for partition in range(2):
            values = [
                sale(sale_id=f"{day}-{partition}-{n}", quantity=float(n), position=n) for n in range(20)
            ]
            at = NOON + dt.timedelta(days=day)
            append(table, partition, [*values, void(sale_id="v", position=99)], at)
    folder = store.uri("sales_joined")
    frame = pd.read_parquet(folder)
    arrow = ds.dataset(folder, partitioning="hive").to_table()
    polars = pl.read_parquet(folder)
    query = f"select count(*), sum(quantity), sum(revenue) from read_parquet('{folder}/**/*.parquet')"
    with duckdb.connect() as database:
        counted = database.execute(query).fetchone()
    expected = (126, 1140.0, 1710.0)
    assert (len(frame), frame["quantity"].sum(), frame["revenue"].sum()) == expected
    assert (arrow.num_rows, pc.sum(arrow["quantity"]).as_py()) == expected[:2]
    assert (len(polars), polars["quantity"].sum(), polars["revenue"].sum()) == expected
    assert counted == expected


def test_a_file_is_sorted_described_and_fit_for_skipping(table: AppendTable) -> None:
    values = [sale(location_id=f"l{n % 7}", product_id=f"p{n % 5}", sale_id=str(n)) for n in range(300)]
    append(table, 0, values)
    path = table.files()[0].path
    with table.store.open(path) as file:
        parquet = pq.ParquetFile(file)
        assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
        statistics = parquet.metadata.row_group(0).column(5).statistics
        assert statistics is not None
        assert statistics.min == "l0"
        schema = parquet.schema_arrow
        frame = pl.from_arrow(parquet.read())
    assert isinstance(frame, pl.DataFrame)
    assert frame.equals(frame.sort("location_id", "product_id", "sold_at"))
    assert all({b"description", b"unit"} <= set(field.metadata or {}) for field in schema)
    assert schema.equals(LAKE_TABLES["sales_joined"].file_schema)
    footer = table.footer(table.files()[0])
    assert (footer.first_offset, footer.next_offset, footer.rows) == (0, 301, 300)
    assert footer.customers == {"acme"}


def test_a_file_that_is_not_what_its_name_says_is_corrupt(table: AppendTable, store: DirectoryStore) -> None:
    append(table, 0, [sale()])
    path = Path(store.uri(table.files()[0].path))
    other = path.with_name("p0000-00000000000000000007.parquet")
    path.rename(other)
    with pytest.raises(CorruptLakeError, match=r"from offset 7.*from 0"):
        table.chain_end(0)
    other.write_bytes(b"half a fi")
    with pytest.raises(CorruptLakeError, match="Parquet file"):
        table.chain_end(0)
    other.rename(path.with_name("part.parquet"))
    with pytest.raises(CorruptLakeError, match="pPARTITION"):
        table.files()


def test_only_raw_tables_are_appended_to(store: DirectoryStore) -> None:
    with pytest.raises(FaultError, match="sales_sealed"):
        AppendTable(store, "sales_sealed")
