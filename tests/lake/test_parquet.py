"""How the files of the lake are written."""

import datetime as dt

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake.parquet import sorted_rows

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
