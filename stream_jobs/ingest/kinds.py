"""What kind of file was delivered: its compression, format and content, told from its name and first bytes.

Guarantee: compression is told by the bytes alone, because transports compress and expand on their way. The
name's extension decides on the format, and the bytes where it says nothing; the caller decides on the
content, else the name's beginning, else the root element of an XML file.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from infra.errors import DeliveryError
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.contents import CONTENTS
from stream_jobs.ingest.readers import expanded
from stream_jobs.ingest.xml_rows import root_name

_EXTENSIONS = {
    ".xml": "xml",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_LOOK_BYTES = 4_096
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"\xd0\xcf\x11\xe0": "an office document",
    b"%PDF-": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!\x1a": "a RAR archive",
    b"\xfd7zXZ": "an xz file",
    b"BZh91AY": "a bzip2 file",
    b"\x1f\x8b": "a file packed twice",
    b"\x28\xb5\x2f\xfd": "a file packed twice",
    b"\x7fELF": "a program",
    b"SQLite format 3": "a database",
}
_XML_START = re.compile(rb"<[A-Za-z_?!]")
_JSON_START = re.compile(rb"\{\s*\"")
_FORMAT_WORDS = {"xml": "XML", "csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet"}


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a delivered file is.

    Attributes:
        content: sales, locations, products, prices or events.
        format: xml, csv, jsonl or parquet.
        compression: gzip or zstd; None when plain.
    """

    content: str
    format: str
    compression: str | None


def kind_of(file: IO[bytes], content: str | None, name: str, limits: Limits) -> FileKind:
    """Tell what a file is.

    Args:
        file: The file; seekable.
        content: What the caller says it holds, or None.
        name: Name of the file as the customer calls it.
        limits: Bounds on what is expanded to look into it.

    Raises:
        DeliveryError: It is empty, or content or format cannot be told; the text says what was expected.
    """
    if content is not None and content not in CONTENTS:
        raise DeliveryError(f"content: expected one of {', '.join(CONTENTS)}; found {content!r}")
    file.seek(0)
    head = file.read(_LOOK_BYTES)
    if not head:
        raise DeliveryError("expected a file with records; found an empty one")
    compression = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    file.seek(0)
    start = expanded(file, compression, limits).read(_LOOK_BYTES)
    file_format = _format_of(name, start)
    _check_start(name, file_format, start)
    if content is None:
        content = _named_content(name)
    if content is None and file_format == "xml":
        file.seek(0)
        found = root_name(expanded(file, compression, limits))
        content = found if found in CONTENTS else None
    if content is None:
        raise DeliveryError(
            f"cannot tell what the file holds: say its content ({', '.join(CONTENTS)}), "
            f"or begin its name with it; found the name {name!r}"
        )
    return FileKind(content, file_format, compression)


def _check_start(name: str, file_format: str, start: bytes) -> None:
    """Refuse a file whose first bytes are clearly of another format than its name says.

    A broken first record is no such thing: it is one record of the file.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    shown = next((words for magic, words in _FOREIGN.items() if start.startswith(magic)), None)
    if shown is None and file_format != "xml" and _XML_START.match(text):
        shown = "XML"
    elif shown is None and file_format in ("xml", "csv") and _JSON_START.match(text):
        shown = "JSON"
    elif shown is None and file_format == "jsonl" and text.startswith(b"["):
        shown = "a JSON array, which would have to be one object a line"
    elif shown is None and file_format == "parquet" and not start.startswith(b"PAR1"):
        shown = "something else"
    if shown is not None:
        raise DeliveryError(
            f"expected {_FORMAT_WORDS[file_format]}, as the name {name!r} says; found {shown}: "
            "name it as what it is, or send what the name says"
        )


def _named_content(name: str) -> str | None:
    lower = PurePosixPath(name).name.lower()
    return next((content for content in CONTENTS if lower.startswith(content)), None)


def _format_of(name: str, start: bytes) -> str:
    if start.startswith(b"PAR1"):
        return "parquet"
    path = PurePosixPath(name.lower())
    if path.suffix in _COMPRESSED:
        path = path.with_suffix("")
    if path.suffix in _EXTENSIONS:
        return _EXTENSIONS[path.suffix]
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"<", b"\xff\xfe<", b"\xfe\xff\x00<")):
        return "xml"
    if text.startswith(b"{"):
        return "jsonl"
    first_line = text.split(b"\n", 1)[0].decode(errors="replace")
    if any(field in first_line for content in CONTENTS.values() for field in content.required):
        return "csv"
    raise DeliveryError(
        "cannot tell the file's format: expected a name that ends in .xml, .csv, .jsonl or .parquet "
        f"(and .gz or .zst), or bytes that show it; found the name {name!r}"
    )
