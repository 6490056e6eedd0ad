"""Bytes of a file as blocks of whole lines, for the two formats that are made of lines.

Guarantee: each block ends with a line feed and is valid UTF-8; no line is longer than the largest record and
one byte, whatever the file holds, because the rest of a longer line is passed over.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from infra.errors import DeliveryError
from stream_jobs.ingest.blocks import BLOCK_BYTES, ByteStream, Limits

Places = npt.NDArray[np.int64]

LINE_FEED = 10
CARRIAGE_RETURN = 13
REPLACEMENT = "\ufffd"
NOT_UTF8 = "expected UTF-8 text, found bytes that are none"


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file.

    Attributes:
        data: Their bytes; ends with a line feed.
        repaired: Whether bytes that were no UTF-8 were exchanged for U+FFFD.
        last: Whether the file ends with these lines.
    """

    data: bytes
    repaired: bool
    last: bool


def read_lines(stream: ByteStream, limits: Limits) -> Iterator[Lines]:
    """Cut a file into blocks of whole lines.

    A byte order mark is dropped, and a last line without a line feed is given one.

    Raises:
        DeliveryError: The file is UTF-16, which no reader of lines can use.
    """
    rest, first, skipping = b"", True, False
    while True:
        piece = stream.read(BLOCK_BYTES)
        if first and piece:
            first = False
            piece = _without_mark(piece + stream.read(1) if len(piece) == 1 else piece)
        if not piece:
            yield _decoded(rest + b"\n" if rest else b"", last=True)
            return
        if skipping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece, skipping = piece[end:], False
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if len(rest) > limits.record_bytes_max:
            # The line's beginning is kept so that it is found too long; its end is yet to come.
            rest, skipping = rest[: limits.record_bytes_max + 1], True
        if cut:
            yield _decoded(_shortened(data[:cut], limits.record_bytes_max), last=False)


def line_ends(data: bytes) -> Places:
    """Places of the line feeds, shape `(n_lines,)`."""
    return np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == LINE_FEED)


def texts(data: bytes, ends: Places) -> pl.Series:
    """The pieces of `data` that end at `ends`, line feeds and all, shape `(len(ends),)`; not copied.

    Args:
        data: Valid UTF-8.
        ends: Rising places of the last byte of each piece; the first piece begins at 0.
    """
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64).tobytes()
    array = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    found = pl.from_arrow(array)
    assert isinstance(found, pl.Series)
    return found


def _without_mark(piece: bytes) -> bytes:
    if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DeliveryError("expected UTF-8 text; found UTF-16. Save the file as UTF-8")
    return piece.removeprefix(codecs.BOM_UTF8)


def _shortened(data: bytes, bytes_max: int) -> bytes:
    """The same lines, those that are too long cut to one byte above the bound."""
    ends = line_ends(data)
    sizes = np.diff(ends, prepend=-1) - 1
    if sizes.max() <= bytes_max + 1:
        return data
    starts = ends - sizes
    return b"".join(
        data[start : min(end, start + bytes_max + 1)] + b"\n"
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _decoded(data: bytes, *, last: bool) -> Lines:
    if data.isascii():
        return Lines(data, repaired=False, last=last)
    try:
        data.decode()
    except UnicodeDecodeError:
        return Lines(data.decode(errors="replace").encode(), repaired=True, last=last)
    return Lines(data, repaired=False, last=last)
