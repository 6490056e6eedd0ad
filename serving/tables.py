"""Columns as the bytes of an answer: JSON, CSV, an Arrow stream or Parquet, a page of rows or a whole run of pages.

Guarantee: every format of one page holds the same rows in the same order. What is said about the whole answer
(run, model, cursor …) stands beside the rows in JSON, and in headers for the other formats.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from schemas.lake_tables import LAKE_TABLES
from serving.encodings import BYTES_MIN, Encoding, Sink, accepted, packed, packed_pieces
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
    """The page as CSV with a header line."""
    return flat_csv(page.rows)


def flat_csv(rows: pl.DataFrame, *, header: bool = True) -> bytes:
    """Rows as CSV; lists are joined with a semicolon."""
    flat = []
    for name, kind in rows.schema.items():
        if isinstance(kind, pl.List):
            flat.append(pl.col(name).list.join(LIST_SEPARATOR))
        elif isinstance(kind, pl.Datetime):
            flat.append(pl.col(name).dt.strftime(TIME_TEXT))
    return rows.with_columns(flat).write_csv(include_header=header).encode()


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


def told(form: Format, name: str, headers: Mapping[str, str], encoding: Encoding | None) -> dict[str, str]:
    """The headers of an answer in some format and encoding.

    Args:
        form: The format.
        name: What the rows are; names the file of a download.
        headers: Those that say something of the rows.
        encoding: How the answer is packed.
    """
    found = {"Vary": "Accept, Accept-Encoding", **headers}
    if form in _ENDINGS:
        found["Content-Disposition"] = f'attachment; filename="{name}.{_ENDINGS[form]}"'
    if encoding is not None:
        found["Content-Encoding"] = encoding.value
    return found


def page_response(
    request: Request, page: Page, form: Format, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that holds `page` in format `form`, packed if the caller can unpack it.

    It links to the next page if there is one.
    """
    body = _ENCODERS[form](page)
    encoding = accepted(request.headers.get("accept-encoding")) if len(body) >= BYTES_MIN else None
    found = told(form, page.name, headers or {}, encoding)
    if page.cursor is not None:
        following = request.url.include_query_params(cursor=page.cursor)
        found["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if encoding is not None:
        body = packed(body, encoding)
    return Response(body, headers=found, media_type=MEDIA_TYPES[form])


def streamed_response(
    request: Request, pieces: Iterator[Page], form: Format, headers: Mapping[str, str]
) -> Response:
    """The answer that holds the rows of all pieces, which are made and packed while it is sent.

    Args:
        request: Says how the answer may be packed.
        pieces: At least one; all have the same name and columns.
        form: The format; JSON is none of them.
        headers: Those that say something of the rows.
    """
    first = next(pieces)
    encoding = None if form is Format.PARQUET else accepted(request.headers.get("accept-encoding"))
    body = packed_pieces(_STREAMED[form](chain([first], pieces)), encoding)
    return StreamingResponse(
        body, headers=told(form, first.name, headers, encoding), media_type=MEDIA_TYPES[form]
    )


def _csv_stream(pieces: Iterator[Page]) -> Iterator[bytes]:
    for number, piece in enumerate(pieces):
        yield flat_csv(piece.rows, header=number == 0)


def _arrow_stream(pieces: Iterator[Page]) -> Iterator[bytes]:
    return _written(pieces, pa.ipc.new_stream)


def _parquet_stream(pieces: Iterator[Page]) -> Iterator[bytes]:
    return _written(pieces, partial(pq.ParquetWriter, compression="zstd"))


def _written(pieces: Iterator[Page], open_writer: Callable[[Sink, pa.Schema], Any]) -> Iterator[bytes]:
    sink, first = Sink(), arrow_table(next(pieces))
    with open_writer(sink, first.schema) as writer:
        for table in chain([first], map(arrow_table, pieces)):
            writer.write_table(table)
            yield sink.taken()
    yield sink.taken()


_STREAMED: Mapping[Format, Callable[[Iterator[Page]], Iterator[bytes]]] = {
    Format.CSV: _csv_stream,
    Format.ARROW: _arrow_stream,
    Format.PARQUET: _parquet_stream,
}
