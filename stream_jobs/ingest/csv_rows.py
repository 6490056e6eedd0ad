"""CSV files as blocks of columns.

The header names the fields; `,`, `;` or a tab separates them; RFC 4180's quotes hold separators, line breaks
and doubled quotes. Guarantee: a line with the wrong number of fields or with broken quotes is a defect of
that line alone; the lines around it are read as if it were not there. Numpy finds where records begin and
end, Polars reads the fields of the good ones; nothing is done line by line unless quotes are broken.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.errors import DeliveryError
from stream_jobs.ingest.blocks import Block, ByteStream, Limits, check_fields, cut
from stream_jobs.ingest.contents import Content
from stream_jobs.ingest.lines import (
    CARRIAGE_RETURN,
    LINE_FEED,
    NOT_UTF8,
    REPLACEMENT,
    Lines,
    Places,
    read_lines,
    texts,
)

SEPARATORS = (",", ";", "\t")
QUOTE = ord('"')


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file.

    Attributes:
        names: The fields in the order of the file, unknown ones among them.
        separator: What stands between them.
    """

    names: tuple[str, ...]
    separator: str


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of some lines lie; every array has the shape `(n_records,)`.

    Attributes:
        ends: Place of the line feed that ends each record; the first begins at 0, each other behind the last.
        fields: Number of fields found.
        broken: Whether its quotes are broken.
    """

    ends: Places
    fields: Places
    broken: npt.NDArray[np.bool_]


def read_csv(stream: ByteStream, content: Content, limits: Limits) -> Iterator[Block]:
    """Read a CSV file.

    Raises:
        DeliveryError: There is no header, or it lacks a required field or names one twice.
    """
    header: Header | None = None
    rest = b""
    for lines in read_lines(stream, limits):
        data = rest + lines.data
        if header is None and data:
            end = data.find(b"\n") + 1
            header, data = _header(data[:end], content), data[end:]
        if header is None:
            continue
        ends_at = len(data) if lines.last else None
        records = split(data, header.separator, limits.record_bytes_max, final=lines.last)
        if ends_at is None:
            ends_at = int(records.ends[-1]) + 1 if len(records.ends) else 0
        rest = data[ends_at:]
        yield from _blocks(
            Lines(data[:ends_at], lines.repaired, lines.last), records, header, content, limits
        )
    if header is None:
        raise DeliveryError("expected a header line with the names of the fields; found an empty file")


def split(data: bytes, separator: str, record_bytes_max: int, *, final: bool) -> Records:
    """Find the records in whole lines.

    Args:
        data: Lines, the last one with its line feed.
        separator: What stands between fields; one ASCII character.
        record_bytes_max: A quoted field that would make its record longer counts as broken.
        final: Whether nothing follows. If not, a record whose quotes are still open at the end is left out,
            to be looked at again with what follows.
    """
    found = _split_whole(data, separator, record_bytes_max, final=final)
    if found is not None:
        return found
    # Quotes are broken somewhere. The line where that begins is a record of its own: with its quotes
    # blanked it stands in nobody's way.
    mended = bytearray(data)
    broken = []
    for start, end in _broken_lines(data, separator, record_bytes_max, final=final):
        broken.append(end)
        mended[start:end] = data[start:end].replace(b'"', b" ")
    found = _split_whole(bytes(mended), separator, record_bytes_max, final=final)
    if found is None:
        raise DeliveryError("the file's quotes cannot be told apart; expected them as RFC 4180 has them")
    return Records(found.ends, found.fields, np.isin(found.ends, np.array(broken, dtype=np.int64)))


def _split_whole(data: bytes, separator: str, record_bytes_max: int, *, final: bool) -> Records | None:
    """The records if all quotes are where they should be, else None."""
    view = np.frombuffer(data, dtype=np.uint8)
    feeds = np.flatnonzero(view == LINE_FEED)
    separators = np.flatnonzero(view == ord(separator))
    quotes = np.flatnonzero(view == QUOTE)
    if len(quotes):
        if not _well_placed(view, quotes, ord(separator)):
            return None
        # Behind an odd number of quotes a line feed or separator is part of a field.
        feeds = feeds[np.searchsorted(quotes, feeds) % 2 == 0]
        separators = separators[np.searchsorted(quotes, separators) % 2 == 0]
        sizes = np.diff(feeds, prepend=-1)
        left = len(data) - (int(feeds[-1]) + 1 if len(feeds) else 0)
        many_lines = len(sizes) and sizes.max() > record_bytes_max + 2
        if (len(quotes) % 2 and (final or left > record_bytes_max)) or many_lines:
            return None
    upto = np.searchsorted(separators, feeds)
    return Records(feeds, np.diff(upto, prepend=0) + 1, np.zeros(len(feeds), dtype=np.bool_))


def _well_placed(view: npt.NDArray[np.uint8], quotes: Places, separator: int) -> bool:
    """Whether each opening quote begins a field and each closing one ends it."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, view[opening - 1], LINE_FEED)
    if not np.isin(before, (separator, LINE_FEED, QUOTE)).all():
        return False
    # The data end with a line feed, so something stands behind every quote.
    after = view[closing + 1]
    returns = after == CARRIAGE_RETURN
    if returns.any():
        after = np.where(returns, view[np.minimum(closing + 2, len(view) - 1)], after)
    return bool(np.isin(after, (separator, LINE_FEED, QUOTE)).all())


def _broken_lines(
    data: bytes, separator: str, record_bytes_max: int, *, final: bool
) -> Iterator[tuple[int, int]]:
    """Start and end of each line at which broken quotes begin; goes record by record."""
    record, unfinished = _patterns(separator)
    place = 0
    while place < len(data):
        match = record.match(data, place)
        if match and match.end() - place <= record_bytes_max + 2:
            place = match.end()
            continue
        if not final and len(data) - place <= record_bytes_max and unfinished.match(data, place):
            return
        end = data.index(b"\n", place)
        if QUOTE in data[place:end]:
            yield place, end
        place = end + 1


@cache
def _patterns(separator: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    # Possessive groups never give back what they took, so that a match costs one pass over the bytes.
    mark = re.escape(separator.encode())
    inside = rb'"(?:[^"]++|"")*+'
    field = rb"(?:" + inside + rb'"|[^"' + mark + rb'\n][^"' + mark + rb"\n]*+|)"
    record = re.compile(field + rb"(?:" + mark + field + rb")*+\r?\n")
    unfinished = re.compile(rb"(?:" + field + mark + rb")*+" + inside + rb"\Z")
    return record, unfinished


def _header(line: bytes, content: Content) -> Header:
    text = line.decode(errors="replace").rstrip("\r\n")
    counts = {mark: text.count(mark) for mark in SEPARATORS}
    separator = max(SEPARATORS, key=lambda mark: counts[mark])
    try:
        names = next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise DeliveryError(
            f"header line: expected the names of the fields; found broken quotes ({error})"
        ) from error
    stripped = tuple(name.strip() for name in names)
    check_fields([name for name in stripped if name], content.required, "header line")
    return Header(stripped, separator)


def _blocks(
    lines: Lines, records: Records, header: Header, content: Content, limits: Limits
) -> Iterator[Block]:
    """The records as blocks of at most `chunk_rows`; empty lines are no records."""
    if not len(records.ends):
        return
    starts = np.concatenate([[0], records.ends[:-1] + 1])
    sizes = records.ends - starts
    view = np.frombuffer(lines.data, dtype=np.uint8)
    only_return = (sizes == 1) & (view[starts] == CARRIAGE_RETURN)
    kept = np.flatnonzero((sizes > 0) & ~only_return)
    originals = texts(lines.data, records.ends)
    for first in range(0, len(kept), limits.chunk_rows):
        chosen = kept[first : first + limits.chunk_rows]
        yield _block(lines, records, chosen, originals.gather(chosen), sizes[chosen], header, content, limits)


def _block(
    lines: Lines, records: Records, chosen: Places, originals: pl.Series, sizes: Places,
    header: Header, content: Content, limits: Limits,
) -> Block:  # fmt: skip
    defects = _defects(records, chosen, originals, sizes, header, limits, repaired=lines.repaired)
    good = defects.is_null().to_numpy()
    columns = _fields(originals.filter(good), header, content)
    if not good.all():
        # Rows of bad records become nulls: each row takes its place among the good ones, or none.
        places = pl.Series(np.where(good, np.cumsum(good) - 1, -1))
        columns = columns.select(pl.all().gather(places.replace(-1, None)))

    def original(rows: Sequence[int]) -> list[str]:
        return [cut(text.rstrip("\r\n")) for text in originals.gather(list(rows)).to_list()]

    return Block(columns, defects, original)


def _defects(
    records: Records, chosen: Places, originals: pl.Series, sizes: Places, header: Header, limits: Limits,
    *, repaired: bool,
) -> pl.Series:  # fmt: skip
    """What is wrong with each line, shape `(len(chosen),)`; null where nothing is."""
    expected = len(header.names)
    frame = pl.DataFrame(
        {
            "fields": records.fields[chosen],
            "broken": records.broken[chosen],
            "bytes": sizes,
            "original": originals,
        }
    )
    reasons = (
        pl.when(pl.col("bytes") > limits.record_bytes_max)
        .then(pl.lit(f"expected a line of at most {limits.record_bytes_max} bytes, found a longer one"))
        .when("broken")
        .then(pl.lit("expected quotes as in RFC 4180, found broken ones"))
        .when(pl.col("fields") != expected)
        .then(pl.format(f"expected {expected} fields as in the header, found {{}}", "fields"))
    )
    if repaired:
        reasons = reasons.when(pl.col("original").str.contains(REPLACEMENT, literal=True)).then(
            pl.lit(NOT_UTF8)
        )
    return frame.select(defect=reasons.otherwise(None).cast(pl.String))["defect"]


def _fields(records: pl.Series, header: Header, content: Content) -> pl.DataFrame:
    """The known fields of good records, shape `(len(records), n_fields)`."""
    known = [(place, name) for place, name in enumerate(header.names) if name in content.field_names]
    if records.is_empty():
        return pl.DataFrame(schema={name: pl.String() for _, name in known})
    data = records.str.join("").item().encode()
    frame = pl.read_csv(
        data, has_header=False, separator=header.separator, infer_schema=False, quote_char='"',
        columns=[place for place, _ in known],
    )  # fmt: skip
    if frame.height != len(records):
        raise ValueError(f"Polars found {frame.height} CSV records where there are {len(records)}")
    return frame.rename(dict(zip(frame.columns, [name for _, name in known], strict=True)))
