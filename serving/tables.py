"""Columns as the bytes of an answer: JSON, CSV, an Arrow stream or Parquet, one page of rows at a time.

Guarantee: every format of one page holds the same rows in the same order. What is said about the whole answer
(run, model, cursor …) stands beside the rows in JSON, and in headers for the other formats.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from fastapi.responses import Response

from schemas.lake_tables import LAKE_TABLES
from serving.negotiation import MEDIA_TYPES, Format

TIME_TEXT = "%Y-%m-%dT%H:%M:%S%.6fZ"
LIST_SEPARATOR = "; "


def _described(column: "pa.Field[Any]") -> dict[bytes | str, bytes | str]:
    return dict((column.metadata or {}).items())


DESCRIPTIONS: Mapping[str, Mapping[str, dict[bytes | str, bytes | str]]] = {
    table.name: {one.name: _described(one) for one in table.schema} for table in LAKE_TABLES.values()
}
"""By table of the lake and column its description and unit, as Arrow fields carry them."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows.

    Attributes:
        name: What the rows are; names their list in JSON and the file of a download.
        rows: The rows, in their order.
        about: What stands beside the rows in JSON.
        cursor: Where the next page begins; None on the last one.
        metadata: Descriptions and units of the columns for Arrow and Parquet, by column.
    """

    name: str
    rows: pl.DataFrame
    about: Mapping[str, object]
    cursor: str | None = None
    metadata: Mapping[str, dict[bytes | str, bytes | str]] = field(default_factory=dict)


def json_bytes(page: Page) -> bytes:
    """The page as one JSON object; times are ISO 8601, and what is not a number is null."""
    head = orjson.dumps({**page.about, "next_cursor": page.cursor})
    rows = page.rows.write_json().encode()
    return head[:-1] + b"," + orjson.dumps(page.name) + b":" + rows + b"}"


def csv_bytes(page: Page) -> bytes:
    """The page as CSV with a header line; lists are joined with a semicolon."""
    flat = []
    for name, kind in page.rows.schema.items():
        if isinstance(kind, pl.List):
            flat.append(pl.col(name).list.join(LIST_SEPARATOR))
        elif isinstance(kind, pl.Datetime):
            flat.append(pl.col(name).dt.strftime(TIME_TEXT))
    return page.rows.with_columns(flat).write_csv().encode()


def arrow_table(page: Page) -> pa.Table:
    """The page as an Arrow table whose fields carry their descriptions."""
    table: pa.Table = page.rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [
        one.with_metadata(page.metadata[one.name]) if one.name in page.metadata else one
        for one in table.schema
    ]
    about: dict[bytes | str, bytes | str] = {name: str(value) for name, value in page.about.items()}
    return table.cast(pa.schema(fields, metadata=about))


def arrow_bytes(page: Page) -> bytes:
    """The page as an Arrow IPC stream."""
    table, sink = arrow_table(page), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_bytes(page: Page) -> bytes:
    """The page as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(arrow_table(page), sink, compression="zstd")
    return sink.getvalue()


_ENCODERS = {
    Format.JSON: json_bytes,
    Format.CSV: csv_bytes,
    Format.ARROW: arrow_bytes,
    Format.PARQUET: parquet_bytes,
}
_ENDINGS = {Format.CSV: "csv", Format.ARROW: "arrows", Format.PARQUET: "parquet"}


def page_response(
    request: Request, page: Page, form: Format, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that holds `page` in format `form`, with a link to the next page if there is one."""
    found = {"Vary": "Accept", **(headers or {})}
    if page.cursor is not None:
        following = request.url.include_query_params(cursor=page.cursor)
        found["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if form in _ENDINGS:
        found["Content-Disposition"] = f'attachment; filename="{page.name}.{_ENDINGS[form]}"'
    return Response(_ENCODERS[form](page), headers=found, media_type=MEDIA_TYPES[form])
