"""Delivery files for tests, written apart from the product's own writers, and read with its readers."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast
from xml.sax.saxutils import escape, quoteattr

import polars as pl
import pyarrow as pa

from infra.settings import IngestSettings
from stream_jobs.ingest.blocks import Block, Limits
from stream_jobs.ingest.columns import typed
from stream_jobs.ingest.contents import CONTENTS
from stream_jobs.ingest.readers import read_blocks

LIMITS = Limits.of(IngestSettings())
SALES = CONTENTS["sales"]

Row = dict[str, str]


def limits(**changes: int) -> Limits:
    """The default limits but for some."""
    return replace(LIMITS, **changes)


def sale(number: int, **changes: str) -> Row:
    """A good sale as it stands in a file."""
    return {
        "sale_id": f"s{number}",
        "location_id": f"L{number % 3}",
        "product_id": "P1",
        "sold_at": "2026-05-01T12:00:00+02:00",
        "quantity": "2",
        "unit_price": "1.5",
        **changes,
    }


def csv_file(rows: Sequence[Row], separator: str = ",", line_end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator, lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def json_file(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def xml_file(rows: Sequence[Row], content: str = "sales", *, elements: bool = False) -> bytes:
    element = CONTENTS[content].element
    lines = []
    for row in rows:
        if elements:
            inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in row.items())
            lines.append(f"  <{element}>{inner}</{element}>\n")
        else:
            inner = " ".join(f"{name}={quoteattr(value)}" for name, value in row.items())
            lines.append(f"  <{element} {inner}/>\n")
    return f'<?xml version="1.0"?>\n<{content}>\n{"".join(lines)}</{content}>\n'.encode()


def parquet_file(frame: pl.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.write_parquet(target, row_group_size=7)
    return target.getvalue()


def file_of(file_format: str, rows: Sequence[Row]) -> bytes:
    """A file of one of the four formats."""
    if file_format == "parquet":
        return parquet_file(pl.DataFrame(rows))
    return {"csv": csv_file, "jsonl": json_file, "xml": xml_file}[file_format](rows)


def packed(data: bytes, compression: str | None) -> bytes:
    if compression is None:
        return data
    return pa.compress(data, codec=cast("Literal['gzip', 'zstd']", compression), asbytes=True)


def blocks(
    data: bytes,
    file_format: str,
    content: str = "sales",
    compression: str | None = None,
    bounds: Limits = LIMITS,
) -> list[Block]:
    return list(read_blocks(io.BytesIO(data), CONTENTS[content], file_format, compression, bounds))


def read(
    data: bytes,
    file_format: str,
    content: str = "sales",
    compression: str | None = None,
    bounds: Limits = LIMITS,
) -> pl.DataFrame:
    """The typed records of a file with `defect`, and `original` beside each defect."""
    frames = []
    for block in read_blocks(io.BytesIO(data), CONTENTS[content], file_format, compression, bounds):
        frame = typed(block, CONTENTS[content], bounds)
        rows = frame["defect"].is_not_null().arg_true().to_list()
        original = pl.Series("original", [None] * frame.height, dtype=pl.String)
        frames.append(frame.with_columns(original.scatter(rows, block.originals(rows)) if rows else original))
    return pl.concat(frames) if frames else pl.DataFrame()
