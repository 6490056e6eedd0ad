"""JSON Lines files as blocks of columns: one object a line.

Guarantee: a line that is no JSON object, or holds no single value in a known field, is a defect of that line
alone. Polars parses whole blocks; only when a block does not parse is each of its lines looked at by itself.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
import polars as pl
from polars.exceptions import PolarsError

from stream_jobs.ingest.blocks import Block, ByteStream, Limits, cut, quoted
from stream_jobs.ingest.contents import Content
from stream_jobs.ingest.lines import NOT_UTF8, REPLACEMENT, line_ends, read_lines, texts

# Halves of surrogate pairs are left to orjson: Polars reads one without its other half as a zero.
_SURROGATE = r"\\u[dD][89a-fA-F]"


def read_json_lines(stream: ByteStream, content: Content, limits: Limits) -> Iterator[Block]:
    """Read a JSON Lines file. Empty lines are no records.

    Raises:
        DeliveryError: The file is UTF-16.
    """
    for lines in read_lines(stream, limits):
        found = texts(lines.data, line_ends(lines.data))
        found = found.filter(found.str.contains(r"[^ \t\r\n]"))
        for first in range(0, len(found), limits.chunk_rows):
            yield _block(found.slice(first, limits.chunk_rows), content, limits, repaired=lines.repaired)


def _block(lines: pl.Series, content: Content, limits: Limits, *, repaired: bool) -> Block:
    kind = pl.Struct({name: pl.String() for name in content.field_names})
    defects = _outer_defects(lines, limits, repaired=repaired)
    doubtful = (
        lines.str.contains(_SURROGATE) | (lines.str.count_matches(r"[\[{]") > limits.depth_max)
    ) & defects.is_null()
    if doubtful.any():
        defects = _with_found(defects, lines, doubtful.arg_true().to_list(), content, limits)
    columns = _parsed(lines, defects, kind)
    if columns is None:
        defects = _with_found(defects, lines, defects.is_null().arg_true().to_list(), content, limits)
        columns = _parsed(lines, defects, kind)
    if columns is None:
        defects = _bisected(lines, defects, kind)
        columns = _parsed(lines, defects, kind)
    if columns is None:
        raise ValueError("JSON lines that parse one by one do not parse together")

    def original(rows: Sequence[int]) -> list[str]:
        return [cut(text.rstrip("\r\n")) for text in lines.gather(list(rows)).to_list()]

    return Block(columns, defects, original)


def _outer_defects(lines: pl.Series, limits: Limits, *, repaired: bool) -> pl.Series:
    """What can be seen without parsing, shape `(len(lines),)`; null where nothing is."""
    longest = limits.record_bytes_max
    line = pl.col("line")
    reasons = (
        pl.when(line.str.len_bytes() > longest + 1)
        .then(pl.lit(f"expected a line of at most {longest} bytes, found a longer one"))
        .when(pl.lit(repaired) & line.str.contains(REPLACEMENT, literal=True))
        .then(pl.lit(NOT_UTF8))
        .otherwise(None)
    )
    return lines.to_frame("line").select(defect=reasons.cast(pl.String))["defect"]


def _parsed(lines: pl.Series, defects: pl.Series, kind: pl.Struct) -> pl.DataFrame | None:
    """The fields of the lines without a defect, nulls for the others; None when they do not parse.

    Polars parses all lines as one array. Each goes into an envelope, alone in an array and before its own
    number, so that a line that is two values, or half of one, cannot push its neighbours out of their rows.
    """
    numbered = pl.DataFrame({"line": lines, "defect": defects}).with_row_index("number")
    sound = pl.when(pl.col("defect").is_null()).then("line").otherwise(pl.lit("{}"))
    pieces = [pl.lit('{"r":['), sound, pl.lit('],"n":'), pl.col("number").cast(pl.String), pl.lit("}")]
    envelopes = numbered.select(line=pl.concat_str(pieces))["line"]
    try:
        decoded = envelopes.str.json_decode(pl.Struct({"r": pl.List(kind), "n": pl.Int64()}))
    except PolarsError:
        return None
    numbers, found = decoded.struct.field("n"), decoded.struct.field("r")
    if len(decoded) != len(lines) or numbers.null_count() or (found.list.len() != 1).any():
        return None
    if not np.array_equal(numbers.to_numpy(), np.arange(len(lines))):
        return None
    records = found.list.first()
    if records.null_count():
        return None
    return records.struct.unnest()


def _with_found(
    defects: pl.Series, lines: pl.Series, rows: Sequence[int], content: Content, limits: Limits
) -> pl.Series:
    """The defects together with those found by looking at some lines one by one."""
    names = content.field_names
    found = [_defect_of(line, names, limits.depth_max) for line in lines.gather(list(rows)).to_list()]
    places = [row for row, defect in zip(rows, found, strict=True) if defect is not None]
    return defects.scatter(places, [defect for defect in found if defect is not None]) if places else defects


def _defect_of(line: str, names: Sequence[str], depth_max: int) -> str | None:
    """What is wrong with one line, or None."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"{_no_object(line)} ({error.msg} at character {error.colno})"
    if not isinstance(value, dict):
        return _no_object(line)
    for name in names:
        if isinstance(value.get(name), (dict, list)):
            return f"{name}: expected a text or a number, found {quoted(orjson.dumps(value[name]).decode())}"
    if _depth(value) > depth_max:
        return f"expected at most {depth_max} levels of nesting, found more"
    return None


def _no_object(line: str) -> str:
    return f"expected one JSON object a line, found {quoted(line.strip())}"


def _depth(value: object) -> int:
    """Levels of objects and arrays within each other."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _bisected(lines: pl.Series, defects: pl.Series, kind: pl.Struct) -> pl.Series:
    """Find the lines that orjson reads and Polars does not, such as numbers beyond all bounds, by halving."""
    found: list[int] = []
    open_ranges = [(0, len(lines))]
    while open_ranges:
        start, length = open_ranges.pop()
        part = slice(start, start + length)
        if _parsed(lines[part], defects[part], kind) is not None:
            continue
        if length == 1:
            found.append(start)
            continue
        half = length // 2
        open_ranges += [(start, half), (start + half, length - half)]
    return defects.scatter(sorted(found), [_no_object(lines[row]) for row in sorted(found)])
