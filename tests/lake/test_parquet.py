"""How the files of the lake are written."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import parquet
from lake.parquet import parquet_bytes, sorted_rows
from schemas.lake_tables import LAKE_TABLES
from tests.lake.frames import rows, sale

ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "a", "B", "ab", "ä", "€", "😀"]),
        st.none() | st.integers(-3, 3),
        st.none() | st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 4)),
    ),
    max_size=30,
)


@given(rows=ROWS, cut=st.integers(0, 30))
def test_rows_are_sorted_as_polars_sorts_them(rows: list[tuple[object, ...]], cut: int) -> None:
    schema = {"text": pl.String, "number": pl.Int64, "day": pl.Date}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row")
    chunks = pl.concat([frame[:cut], frame[cut:]])
    expected = frame.sort(*schema, nulls_last=True, maintain_order=True)
    assert sorted_rows(chunks, tuple(schema)).equals(expected)


SEALED = LAKE_TABLES["sales_sealed"]


def by_polars(path: str, location: str) -> int:
    found = pl.scan_parquet(path).filter(pl.col("location_id") == location).select("sale_id", "quantity")
    return found.collect().height


def by_duckdb(path: str, location: str) -> int:
    query = "select sale_id, quantity from read_parquet(?) where location_id = ?"
    return len(duckdb.execute(query, [path, location]).fetchall())


def by_pyarrow(path: str, location: str) -> int:
    return (
        ds.dataset(path)
        .to_table(["sale_id", "quantity"], filter=pc.field("location_id") == location)
        .num_rows
    )


def test_every_row_group_says_the_least_and_the_greatest_of_the_columns_it_is_sorted_by(
    grouped: Path,
) -> None:
    metadata = pq.read_metadata(grouped)
    assert metadata.num_row_groups == 3
    for number in range(3):
        group = metadata.row_group(number)
        columns = {
            group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)
        }
        for name in SEALED.order:
            statistics = columns[name].statistics
            assert statistics is not None, name
            assert statistics.has_min_max, name
        least = columns["location_id"].statistics
        assert least is not None
        assert least.min == least.max == f"l{number}"
        assert [column.column_index for column in group.sorting_columns] == [
            SEALED.file_schema.names.index(name) for name in SEALED.order
        ]


@pytest.mark.parametrize("read", [by_polars, by_duckdb, by_pyarrow])
def test_a_filter_on_the_first_sort_column_reads_no_row_group_without_it(
    grouped: Path, read: Callable[[str, str], int]
) -> None:
    group = pq.read_metadata(grouped).row_group(1)
    data = bytearray(grouped.read_bytes())
    for place in range(group.num_columns):
        column = group.column(place)
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    grouped.write_bytes(data)
    assert read(str(grouped), "l0") == 4
    assert read(str(grouped), "l2") == 4
    with pytest.raises(Exception, match=r".+"):  # Whoever reads the second group meets the damage.
        read(str(grouped), "l1")


@pytest.fixture
def grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three row groups of a location each."""
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 4)
    lines = [sale(sale_id=f"s{number}", location_id=f"l{number % 3}") for number in range(12)]
    frame = rows("sales_joined", lines).select(SEALED.file_schema.names)
    path = tmp_path / "part.parquet"
    path.write_bytes(parquet_bytes(frame, SEALED))
    return path
