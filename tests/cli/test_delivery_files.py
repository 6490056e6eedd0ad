"""Delivery files are read back by the readers of ingest, and by the standard parsers."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from cli.delivery_files import FileStyle, file_chunks, file_kind, write_delivery
from infra.errors import SettingError
from infra.settings import IngestSettings
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.contents import CONTENTS
from stream_jobs.ingest.readers import read_blocks

LIMITS = Limits.of(IngestSettings())
ODD = "a\"b<c>&d;e,f\tg'h\nü\u2028"
SALES = pl.DataFrame(
    {
        "sale_id": [ODD, "two", None],
        "location_id": ["CA_1", None, ""],
        "product_id": ["p", " spaced ", "ö"],
        "sold_at": [
            datetime(2024, 1, 1, 12, tzinfo=ZoneInfo("America/Chicago")),
            datetime(2024, 7, 1, 12, 0, 0, 250_000, tzinfo=ZoneInfo("America/Chicago")),
            None,
        ],
        "quantity": [3.0, 0.25, None],
        "unit_price": [1.99, None, 0.1],
        "voided": [False, True, None],
    }
)
TIMES = ["2024-01-01T12:00:00-06:00", "2024-07-01T12:00:00.250-05:00", None]


def read_back(path: Path, content: str) -> pl.DataFrame:
    kind = file_kind(path)
    with path.open("rb") as file:
        blocks = list(read_blocks(file, CONTENTS[content], kind.format, kind.compression, LIMITS))
    assert all(block.defects.is_null().all() for block in blocks)
    return pl.concat(block.columns for block in blocks)


def as_text(frame: pl.DataFrame) -> list[dict[str, str | None]]:
    """Rows as text; an empty one is the same as none, and 3 the same as 3.0."""
    numbers = [name for name in ("quantity", "unit_price") if name in frame.columns]
    text = (
        frame.with_columns(pl.all().cast(pl.String))
        .with_columns(pl.all().replace("", None))
        .with_columns(pl.col(name).cast(pl.Float64, strict=False).cast(pl.String) for name in numbers)
    )
    return text.select(sorted(text.columns)).rows(named=True)


@pytest.mark.parametrize("extension", ["xml", "xml.gz", "csv", "csv.zst", "jsonl", "jsonl.gz", "ndjson"])
@pytest.mark.parametrize(
    "style", [FileStyle(), FileStyle("elements", ";", byte_order_mark=True), FileStyle(separator="\t")]
)
def test_ingest_reads_what_was_written(tmp_path: Path, extension: str, style: FileStyle) -> None:
    path = tmp_path / f"sales.{extension}"
    assert write_delivery(path, "sales", SALES, style) == path.stat().st_size
    expected = SALES.with_columns(pl.Series("sold_at", TIMES))
    assert as_text(read_back(path, "sales")) == as_text(expected)


def test_a_parquet_file_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    write_delivery(path, "sales", SALES)
    assert pl.read_parquet(path).equals(SALES)
    assert read_back(path, "sales")["quantity"].to_list() == [3.0, 0.25, None]


def test_standard_parsers_agree(tmp_path: Path) -> None:
    rows = SALES.height
    for extension in ("xml", "csv", "jsonl.gz"):
        write_delivery(tmp_path / f"sales.{extension}", "sales", SALES)
    root = etree.parse(tmp_path / "sales.xml").getroot()
    assert (root.tag, [child.tag for child in root]) == ("sales", ["sale"] * rows)
    assert root[0].get("sale_id") == ODD
    assert root[1].get("location_id") is None
    with (tmp_path / "sales.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["sale_id"] for line in lines] == [ODD, "two", ""]
    text = gzip.decompress((tmp_path / "sales.jsonl.gz").read_bytes()).decode()
    assert [json.loads(line)["unit_price"] for line in text.strip().split("\n")] == [1.99, None, 0.1]


def test_every_content_is_written_with_its_own_element(tmp_path: Path) -> None:
    for content, described in CONTENTS.items():
        frame = pl.DataFrame(
            {
                field.name: [{"date": date(2024, 2, 29), "number": 1.5}.get(field.kind, "x")]
                for field in described.fields
            }
        )
        path = tmp_path / f"{content}.xml"
        write_delivery(path, content, frame)
        assert as_text(read_back(path, content)) == as_text(frame)


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    for extension in ("xml.gz", "csv.zst", "parquet"):
        first, second = tmp_path / f"a.{extension}", tmp_path / f"b.{extension}"
        write_delivery(first, "sales", SALES)
        write_delivery(second, "sales", SALES)
        assert first.read_bytes() == second.read_bytes()


def test_a_long_frame_is_written_in_pieces_without_a_seam() -> None:
    frame = pl.DataFrame({"sale_id": [str(number) for number in range(250_001)]})
    chunks = list(file_chunks("sales", "xml", frame))
    assert len(chunks) == 5
    root = etree.parse(io.BytesIO(b"".join(chunks))).getroot()
    assert [child.get("sale_id") for child in root] == frame["sale_id"].to_list()


def test_a_file_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "sales.xml"
    with pytest.raises(SettingError, match="sale_id: found a control character"):
        write_delivery(path, "sales", pl.DataFrame({"sale_id": ["good", "b\x00d"]}))
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_it_cannot_hold_and_the_others_write_it(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sale_id": ["a"], "quantity": [float("nan")]})
    with pytest.raises(SettingError, match="not finite"):
        write_delivery(tmp_path / "sales.jsonl", "sales", frame)
    write_delivery(tmp_path / "sales.csv", "sales", frame)
    assert (tmp_path / "sales.csv").read_text() == "sale_id,quantity\na,NaN\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [("sales.xls", "expected an extension"), ("sales", "expected an extension"),
     ("sales.parquet.gz", "compresses its own columns")],
)  # fmt: skip
def test_an_extension_that_nobody_reads_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        write_delivery(tmp_path / name, "sales", SALES)


def test_columns_that_are_no_fields_and_times_without_a_zone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with pytest.raises(SettingError, match="found colour"):
        write_delivery(path, "sales", pl.DataFrame({"colour": ["red"]}))
    with pytest.raises(SettingError, match="content"):
        write_delivery(path, "receipts", SALES)
    naive = pl.DataFrame({"sold_at": [datetime(2024, 1, 1, tzinfo=UTC)]}).with_columns(
        pl.col("sold_at").dt.replace_time_zone(None)
    )
    with pytest.raises(SettingError, match="time zone"):
        write_delivery(path, "sales", naive)


# U+FFFE and U+FFFF are no characters of XML; the writer refuses them like control characters.
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXT, min_size=1))
def test_any_text_survives_every_format(texts: list[str]) -> None:
    ids = dict.fromkeys(("sale_id", "location_id", "product_id"), texts)
    frame = pl.DataFrame({**ids, "sold_at": "2024-01-01", "quantity": 1})
    for format_ in ("xml", "csv", "jsonl"):
        stream = io.BytesIO(b"".join(file_chunks("sales", format_, frame)))
        blocks = read_blocks(stream, CONTENTS["sales"], format_, None, LIMITS)
        assert [text for block in blocks for text in block.columns["location_id"].to_list()] == texts
