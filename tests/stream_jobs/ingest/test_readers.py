"""The readers together: the same data in any format are the same records, and no file is too much."""

import gzip
import io
import os
from datetime import UTC, date, datetime
from typing import BinaryIO

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from infra.errors import DeliveryError, UnavailableError
from stream_jobs.ingest.readers import read_blocks, stored
from tests.stream_jobs.ingest.files import (
    LIMITS,
    SALES,
    blocks,
    csv_file,
    file_of,
    json_file,
    limits,
    packed,
    parquet_file,
    read,
    sale,
    xml_file,
)

ROWS = [sale(number, sale_id=f"Zürich & <{number}>", quantity=str(number / 4)) for number in range(50)]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("file_format", ["xml", "csv", "jsonl", "parquet"])
def test_one_delivery_in_any_format_and_compression_is_the_same_records(
    file_format: str, compression: str | None
) -> None:
    data = packed(file_of(file_format, ROWS), compression)
    found = read(data, file_format, compression=compression)
    assert found["defect"].null_count() == len(ROWS)
    assert found["sale_id"].to_list() == [row["sale_id"] for row in ROWS]
    assert found["quantity"].to_list() == [float(row["quantity"]) for row in ROWS]
    assert found["sold_at"].unique().to_list() == [datetime(2026, 5, 1, 10, tzinfo=UTC)]
    assert found["voided"].to_list() == [False] * len(ROWS)
    assert_frame_equal(found, read(csv_file(ROWS), "csv"))


@pytest.mark.parametrize("variant", ["elements", "semicolons", "tabs", "crlf", "bom"])
def test_the_liberties_of_a_format_change_nothing(variant: str) -> None:
    data, file_format = {
        "elements": (xml_file(ROWS, elements=True), "xml"),
        "semicolons": (csv_file(ROWS, ";"), "csv"),
        "tabs": (csv_file(ROWS, "\t"), "csv"),
        "crlf": (csv_file(ROWS, line_end="\r\n"), "csv"),
        "bom": (b"\xef\xbb\xbf" + csv_file(ROWS), "csv"),
    }[variant]
    assert_frame_equal(read(data, file_format), read(json_file(ROWS), "jsonl"))


def test_typed_parquet_columns_are_read_as_what_they_are() -> None:
    frame = pl.DataFrame(
        {
            "sale_id": [1.0, 2.0, None],
            "location_id": pl.Series(["A", "B", "A"], dtype=pl.Categorical),
            "product_id": [7, 8, 9],
            "sold_at": [datetime(2026, 5, 1, 12), datetime(2026, 5, 1, 13), None],  # noqa: DTZ001  A naive time is UTC.
            "quantity": [1, 2, 3],
            "voided": [True, None, False],
            "ignored": [[1], [2], [3]],
        }
    )
    found = read(parquet_file(frame), "parquet")
    assert found["defect"].null_count() == 3
    assert found["sale_id"].to_list() == ["1", "2", None]
    assert found["location_id"].to_list() == ["A", "B", "A"]
    assert found["product_id"].to_list() == ["7", "8", "9"]
    assert found["sold_at"][1] == datetime(2026, 5, 1, 13, tzinfo=UTC)
    assert found["voided"].to_list() == [True, False, False]


def test_master_data_get_their_defaults_and_dates() -> None:
    found = read(csv_file([{"location_id": "L1", "opened_on": "2020-02-29"}]), "csv", "locations")
    assert found.row(0, named=True)["time_zone"] == "UTC"
    assert found.row(0, named=True)["opened_on"] == date(2020, 2, 29)
    assert read(json_file([{"product_id": "P"}]), "jsonl", "products")["unit"].to_list() == ["piece"]


@pytest.mark.parametrize("file_format", ["xml", "csv", "jsonl"])
def test_where_blocks_end_changes_nothing(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(file_of(file_format, ROWS), file_format)
    for size in (1, 7, 64, 501):
        monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", size)
        monkeypatch.setattr("stream_jobs.ingest.xml_rows.BLOCK_BYTES", size)
        monkeypatch.setattr("stream_jobs.ingest.xml_rows.PROLOG_PIECE_BYTES", size)
        assert_frame_equal(read(file_of(file_format, ROWS), file_format), whole)


@pytest.mark.parametrize("file_format", ["xml", "csv", "jsonl", "parquet"])
def test_no_block_is_longer_than_a_chunk(file_format: str) -> None:
    found = blocks(file_of(file_format, ROWS), file_format, bounds=limits(chunk_rows=8))
    assert max(block.rows for block in found) <= 8
    assert sum(block.rows for block in found) == len(ROWS)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("file_format", ["xml", "csv", "jsonl", "parquet"])
def test_a_file_that_expands_beyond_the_bound_is_refused(file_format: str, compression: str) -> None:
    start = b"<sales>" if file_format == "xml" else csv_file([sale(1)])
    bomb = packed(start + b" " * 30_000_000, compression)
    assert len(bomb) < 100_000
    with pytest.raises(DeliveryError, match="at most 1000000 bytes"):
        blocks(bomb, file_format, compression=compression, bounds=limits(expanded_bytes_max=1_000_000))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_file_that_expands_by_too_large_a_factor_is_refused(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = csv_file([sale(number) for number in range(2_000)])
    bomb = packed(good + b" " * 30_000_000, compression)
    monkeypatch.setattr("stream_jobs.ingest.readers.EXPANDED_FREELY_BYTES", 2_000_000)
    with pytest.raises(DeliveryError, match="at most 50 times its size"):
        blocks(bomb, "csv", compression=compression, bounds=limits(expansion_max=50))
    assert blocks(packed(good, compression), "csv", compression=compression, bounds=limits(expansion_max=50))
    # A small file may expand by any factor.
    small = packed(good + b"\n" * 100_000, compression)
    assert blocks(small, "csv", compression=compression, bounds=limits(expansion_max=2))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_truncated_and_damaged_compression_is_refused(compression: str) -> None:
    data = packed(csv_file([sale(number) for number in range(20_000)]), compression)
    with pytest.raises(DeliveryError, match=f"whole {compression} data"):
        blocks(data[:-20], "csv", compression=compression)
    # Zstandard's checksum is optional; gzip always has one.
    if compression == "gzip":
        with pytest.raises(DeliveryError, match="whole gzip data"):
            blocks(data[:1000] + os.urandom(50) + data[1050:], "csv", compression=compression)


def test_two_gzip_members_are_one_file() -> None:
    data = csv_file(ROWS)
    assert read(gzip.compress(data[:400]) + gzip.compress(data[400:]), "csv", compression="gzip").height == 50


@pytest.mark.parametrize("cut", [0, 3, 100, -5])
def test_a_damaged_parquet_file_is_refused(cut: int) -> None:
    with pytest.raises(DeliveryError, match="Parquet"):
        blocks(parquet_file(pl.DataFrame(ROWS))[:cut], "parquet")


def test_a_parquet_column_that_cannot_be_meant_is_refused() -> None:
    frame = pl.DataFrame(ROWS).with_columns(quantity=pl.lit(True))
    with pytest.raises(DeliveryError, match=r"quantity: expected numbers or text; found Boolean"):
        read(parquet_file(frame), "parquet")
    nested = pl.DataFrame(ROWS).with_columns(quantity=pl.lit([1]))
    with pytest.raises(DeliveryError, match=r"quantity: expected .* found large_list"):
        read(parquet_file(nested), "parquet")
    with pytest.raises(DeliveryError, match="missing location_id, sold_at"):
        read(parquet_file(pl.DataFrame(ROWS).drop("location_id", "sold_at")), "parquet")


def test_one_long_text_in_every_row_of_parquet_stays_small() -> None:
    frame = pl.DataFrame(ROWS).with_columns(product_id=pl.lit("x" * 1_000_000))
    found = blocks(parquet_file(frame), "parquet")
    assert sum(block.columns.estimated_size() for block in found) < 200_000
    assert "product_id: expected at most 1000 characters" in read(parquet_file(frame), "parquet")["defect"][0]


class _Failing(io.BytesIO):
    """A stored file that breaks off as a network does."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 100:
            raise OSError("connection reset")
        return super().read(min(64, size) if size and size > 0 else 64)


@pytest.mark.parametrize(
    ("file_format", "compression"), [("csv", None), ("csv", "gzip"), ("xml", "zstd"), ("parquet", None)]
)
def test_a_failing_store_is_not_taken_for_a_bad_file(file_format: str, compression: str | None) -> None:
    rows = [sale(number, sale_id=os.urandom(40).hex()) for number in range(400)]
    file: BinaryIO = _Failing(packed(file_of(file_format, rows), compression))
    with pytest.raises(UnavailableError, match="connection reset"):
        list(read_blocks(stored(file), SALES, file_format, compression, LIMITS))
