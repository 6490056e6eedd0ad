"""Columns to delivery files: XML, CSV, JSON Lines or Parquet, plain or compressed, as customers send them.

Guarantee: what is written here is what ingest reads: the field names of the record, times in ISO 8601 with
their offset, text escaped as each format asks. A file appears under its name only when it is whole, and the
same frame always gives the same bytes, so that a file written twice is recognised as the same delivery.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa

from infra.errors import SettingError
from stream_jobs.ingest.contents import CONTENTS

Format = Literal["xml", "csv", "jsonl", "parquet"]
Compression = Literal["gzip", "zstd"]

_FORMATS: dict[str, Format] = {
    ".xml": "xml",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_ROWS_AT_ONCE = 100_000
_XML_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\n": "&#10;",
    "\r": "&#13;",
    "\t": "&#9;",
}
_NOT_IN_XML = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"


@dataclass(frozen=True, slots=True)
class FileKind:
    """How a delivery file is written, as its name says."""

    format: Format
    compression: Compression | None


@dataclass(frozen=True, slots=True)
class FileStyle:
    """The liberties that the formats leave: real customers use all of them.

    Attributes:
        xml: Whether a record's fields are attributes or child elements.
        separator: What stands between the fields of a CSV line: `,`, `;` or a tab.
        byte_order_mark: Whether a CSV file begins with UTF-8's mark, as spreadsheets write it.
    """

    xml: Literal["attributes", "elements"] = "attributes"
    separator: Literal[",", ";", "\t"] = ","
    byte_order_mark: bool = False


def file_kind(path: Path) -> FileKind:
    """Tell format and compression from a file's extension.

    Raises:
        SettingError: The extension is none that ingest reads.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    kept = suffixes[:-1] if compression else suffixes
    format_ = _FORMATS.get(kept[-1]) if kept else None
    if format_ is None:
        expected = ", ".join([*_FORMATS, *(f"EXT{suffix}" for suffix in _COMPRESSIONS)])
        raise SettingError(f"{path.name}: expected an extension of {expected}")
    if format_ == "parquet" and compression:
        raise SettingError(f"{path.name}: Parquet compresses its own columns; leave out {path.suffixes[-1]}")
    return FileKind(format_, compression)


def file_chunks(
    content: str, format_: Format, frame: pl.DataFrame, style: FileStyle | None = None
) -> Iterator[bytes]:
    """Write a frame as the bytes of an uncompressed delivery file, some hundred thousand records at a time.

    Args:
        content: sales, locations, products, prices or events.
        format_: Format of the file.
        frame: One row a record, any of the content's fields as columns. A null is a field that is not there.
            Times carry a time zone, which gives their offset, or are ISO 8601 text already.
        style: Liberties of the format; by default attributes, commas and no mark.

    Raises:
        SettingError: The content is unknown, or a column is no field of it, or a value cannot stand in the
            format.
    """
    _check_columns(content, frame)
    style = style or FileStyle()
    if format_ == "parquet":
        yield from _parquet(frame)
        return
    if format_ == "xml":
        yield f'<?xml version="1.0" encoding="UTF-8"?>\n<{content}>\n'.encode()
    elif format_ == "csv":
        mark = "\ufeff" if style.byte_order_mark else ""
        yield (mark + style.separator.join(frame.columns) + "\n").encode()
    for rows in frame.iter_slices(_ROWS_AT_ONCE):
        text = _as_text(rows)
        if format_ == "xml":
            yield _xml_records(CONTENTS[content].element, text, style)
        elif format_ == "csv":
            yield text.write_csv(include_header=False, separator=style.separator).encode()
        else:
            yield _json_lines(text)
    if format_ == "xml":
        yield f"</{content}>\n".encode()


def write_chunks(path: Path, chunks: Iterable[bytes]) -> int:
    """Write bytes to a file, compressed as its extension says; the file appears when it is whole.

    Returns:
        Size of the file in bytes.

    Raises:
        SettingError: The extension is unknown.
    """
    kind = file_kind(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with pa.OSFile(str(unfinished), "wb") as file:
            # Arrow's compressors put neither name nor time into the file: the same bytes give the same
            # digest.
            sink = pa.CompressedOutputStream(file, kind.compression) if kind.compression else file
            with sink:
                for chunk in chunks:
                    sink.write(chunk)
        size = unfinished.stat().st_size
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return size


def write_delivery(path: Path, content: str, frame: pl.DataFrame, style: FileStyle | None = None) -> int:
    """Write a frame as a delivery file; format and compression are those of the extension.

    Args:
        path: File to write; folders are made, an older file is replaced.
        content: sales, locations, products, prices or events.
        frame: One row a record, any of the content's fields as columns (see `file_chunks`).
        style: Liberties of the format.

    Returns:
        Size of the file in bytes.

    Raises:
        SettingError: Extension, content, a column or a value cannot be written.
    """
    return write_chunks(path, file_chunks(content, file_kind(path).format, frame, style))


def _check_columns(content: str, frame: pl.DataFrame) -> None:
    if content not in CONTENTS:
        raise SettingError(f"content: expected one of {', '.join(CONTENTS)}, found {content!r}")
    known = CONTENTS[content].field_names
    unknown = [name for name in frame.columns if name not in known]
    if unknown or not frame.columns:
        found = ", ".join(unknown) or "no column"
        raise SettingError(f"columns of {content}: expected some of {', '.join(known)}, found {found}")
    naive = [
        n for n, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone is None
    ]
    if naive:
        raise SettingError(f"column {naive[0]}: expected times with a time zone, found times without one")


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates and times as ISO 8601 text; other columns as they are."""
    columns: list[pl.Expr] = []
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Datetime):
            columns.append(pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%S%.f%:z"))
        elif kind == pl.Date:
            columns.append(pl.col(name).dt.to_string("%Y-%m-%d"))
        elif kind in (pl.Categorical, pl.Enum):
            columns.append(pl.col(name).cast(pl.String))
    return frame.with_columns(columns)


def _xml_records(record: str, frame: pl.DataFrame, style: FileStyle) -> bytes:
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    forbidden = frame.select(pl.col(texts).str.contains(_NOT_IN_XML).any())
    for name in forbidden.columns:
        if forbidden[name].item():
            raise SettingError(f"column {name}: found a control character, which XML cannot hold")
    pieces = [_xml_field(name, name in texts, style) for name in frame.columns]
    opening, closing = (f"<{record}", "/>") if style.xml == "attributes" else (f"<{record}>", f"</{record}>")
    line = pl.concat_str([pl.lit(opening), *pieces, pl.lit(closing + "\n")])
    return (frame.select(line.str.join("")).item() or "").encode()


def _xml_field(name: str, is_text: bool, style: FileStyle) -> pl.Expr:
    value = pl.col(name).cast(pl.String)
    if is_text:
        value = value.str.replace_many(list(_XML_ESCAPES), list(_XML_ESCAPES.values()))
    before, after = (f' {name}="', '"') if style.xml == "attributes" else (f"<{name}>", f"</{name}>")
    # A null has no text: the whole field is left out.
    return pl.concat_str([pl.lit(before), value, pl.lit(after)]).fill_null("")


def _json_lines(frame: pl.DataFrame) -> bytes:
    for name, kind in frame.schema.items():
        if kind.is_float() and not frame[name].fill_null(0.0).is_finite().all():
            raise SettingError(f"column {name}: found a number that is not finite, which JSON cannot hold")
    return frame.write_ndjson().encode()


def _parquet(frame: pl.DataFrame) -> Iterator[bytes]:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    yield buffer.getvalue()
