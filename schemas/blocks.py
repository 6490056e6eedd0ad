"""Many Avro records at once: columns ⇄ the bytes of each record.

Polars' own Avro reader and writer move the bytes; numpy places them. All records of a batch lie in one block
of an Avro container file, one after the other.

Guarantee: a block that is returned was read with every record at its own place. No value has a shorter
encoding than the one that `lengths` counts, the reader never goes past the block, and each message is exactly
as long as its values imply; so no record can have begun before or after its message. A block of which this
cannot be said is refused as a whole; the caller finds the bad record by reading smaller blocks.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PanicException, PolarsError

from infra.errors import FaultError
from schemas.records import Column

Lengths = npt.NDArray[np.int64]

_SYNC = bytes(range(1, 17))
_HEAD = "(head)"
_SIZED = frozenset({"string", "bytes"})
_VARINT_STEPS = np.array([1 << (7 * step) for step in range(1, 10)], dtype=np.uint64)


def zigzag(number: int) -> bytes:
    """A long in Avro's variable-length zig-zag encoding."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def varint_lengths(numbers: npt.NDArray[np.int64]) -> Lengths:
    """How many bytes each number takes as a zig-zag varint; shape as given."""
    folded = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    if folded.size and folded.max() < 1 << 7:
        return np.ones(folded.shape, dtype=np.int64)
    return np.searchsorted(_VARINT_STEPS, folded, side="right") + 1


def varint_sizes(sizes: npt.NDArray[np.uint32]) -> Lengths:
    """How many bytes each length takes with the varint before it; shape as given."""
    counted = sizes.astype(np.int64)
    return counted + varint_lengths(counted)


def value_lengths(values: pl.Series, kind: str) -> Lengths:
    """Bytes that each value takes on the wire, without its union's branch; nulls count as anything.

    Args:
        values: Values in their physical type.
        kind: Avro's name of that type.

    Returns:
        Lengths in bytes, shape `(len(values),)`.
    """
    if kind in _SIZED:
        return varint_sizes(values.to_frame("v").select(_size(pl.col("v"), kind))["v"].to_numpy())
    if kind in ("int", "long", "enum"):
        return varint_lengths(values.fill_null(0).cast(pl.Int64).to_numpy())
    return np.full(len(values), {"boolean": 1, "float": 4, "double": 8}[kind], dtype=np.int64)


def _size(values: pl.Expr, kind: str) -> pl.Expr:
    """Bytes of each text or binary value; 0 for null."""
    return (values.str.len_bytes() if kind == "string" else values.bin.size()).fill_null(0).cast(pl.UInt32)


def all_lengths(frame: pl.DataFrame, columns: Sequence[Column], item_extra: int = 0) -> list[Lengths]:
    """Bytes that each row of each column takes on the wire.

    Polars works out the sizes of all texts in one go: each question to it costs a tenth of a millisecond,
    whatever the number of rows.

    Args:
        frame: The columns in their physical types.
        columns: What the schema says of them.
        item_extra: Bytes counted in addition for each item of an array.

    Returns:
        Lengths in bytes of each column, shape `(frame.height,)`.
    """
    sized = [one for one in columns if one.kind in _SIZED and not one.repeated]
    sizes = frame.select(_size(pl.col(one.name), one.kind) for one in sized) if sized else pl.DataFrame()
    found = []
    for column in columns:
        if column.name not in sizes.columns:
            found.append(lengths(frame[column.name], column, item_extra))
            continue
        counted = varint_sizes(sizes[column.name].to_numpy())
        found.append(_with_branch(counted, frame[column.name]) if column.nullable else counted)
    return found


def _with_branch(sizes: Lengths, values: pl.Series) -> Lengths:
    """Lengths with the branch of a union with null before each value."""
    return np.where(values.is_null().to_numpy(), 1, sizes + 1) if values.null_count() else sizes + 1


def lengths(values: pl.Series, column: Column, item_extra: int = 0) -> Lengths:
    """Bytes that each row of a column takes on the wire.

    Args:
        values: The column in its physical type.
        column: What the schema says of it.
        item_extra: Bytes counted in addition for each item of an array.

    Returns:
        Lengths in bytes, shape `(len(values),)`.
    """
    if column.repeated:
        counts = values.list.len().cast(pl.Int64).to_numpy()
        items = value_lengths(flattened(values), column.kind) + item_extra
        totals = np.concatenate([[0], np.cumsum(items)])
        ends = np.cumsum(counts)
        # An empty array is its end marker alone; any other is its count, its items and the marker.
        return np.where(counts > 0, totals[ends] - totals[ends - counts] + varint_lengths(counts) + 1, 1)
    if values.null_count() == len(values) and column.nullable:
        return np.ones(len(values), dtype=np.int64)
    sizes = value_lengths(values, column.kind)
    return _with_branch(sizes, values) if column.nullable else sizes


def flattened(values: pl.Series) -> pl.Series:
    """The items of all rows of a list column, one after the other."""
    return values.filter(values.list.len() > 0).explode()


def read_block(
    messages: Sequence[bytes], columns: Sequence[Column], head: bytes = b""
) -> pl.DataFrame | None:
    """Read records that were written with one flat schema.

    Args:
        messages: The bytes of each record behind its head; at least one.
        columns: The fields of the schema that they were written with.
        head: What each message must begin with.

    Returns:
        One row for each record in physical types, or None when not every message is what it should be.
    """
    data = b"".join(messages)
    container = _container_head(columns, len(head))
    block = b"".join((container, zigzag(len(messages)), zigzag(len(data)), data, _SYNC))
    try:
        frame = pl.read_avro(io.BytesIO(block))
    except (PolarsError, PanicException, OSError, ValueError, MemoryError, OverflowError):
        return None
    if frame.height != len(messages):
        return None
    if head:
        if not frame.select((pl.col(_HEAD) == pl.lit(head)).all()).item():
            return None
        frame = frame.drop(_HEAD)
    for column in columns:
        values = frame[column.name]
        if values.dtype != column.physical or (values.null_count() and not column.nullable):
            return None
    implied = np.full(frame.height, len(head), dtype=np.int64)
    rows: list[Lengths] = []
    truths: list[Lengths] = []
    for column, sizes in zip(columns, all_lengths(frame, columns), strict=True):
        implied += sizes
        if column.kind == "boolean":
            # The last byte of this field, within its message.
            there = np.flatnonzero(frame[column.name].is_not_null().to_numpy())
            truths.append(implied[there] - 1)
            rows.append(there)
    found = np.fromiter(map(len, messages), dtype=np.int64, count=len(messages))
    if not np.array_equal(implied, found):
        return None
    # Of a boolean that is neither 0 nor 1 decoders make what they like.
    starts, raw = np.cumsum(found) - found, np.frombuffer(data, dtype=np.uint8)
    places = [starts[row] + within for row, within in zip(rows, truths, strict=True)]
    return None if any((raw[place] > 1).any() for place in places) else frame


def _container_head(columns: Sequence[Column], head_bytes: int) -> bytes:
    fields: list[object] = [{"name": column.name, "type": _wire_type(column)} for column in columns]
    if head_bytes:
        fields.insert(0, {"name": _HEAD, "type": {"type": "fixed", "name": "head", "size": head_bytes}})
    text = json.dumps({"type": "record", "name": "r", "fields": fields}, ensure_ascii=False).encode()
    return b"Obj\x01\x02" + zigzag(11) + b"avro.schema" + zigzag(len(text)) + text + b"\x00" + _SYNC


def _wire_type(column: Column) -> object:
    kind = "int" if column.kind == "enum" else column.kind
    if column.repeated:
        return {"type": "array", "items": kind}
    if not column.nullable:
        return kind
    return [kind, "null"] if column.null_last else ["null", kind]


def write_block(frame: pl.DataFrame, columns: Sequence[Column], head: bytes) -> list[bytes]:
    """The bytes of each row as a record.

    Args:
        frame: The columns of the schema in physical types, without nulls where the schema has none.
        columns: The fields of the schema, in its order.
        head: Bytes put before each record.
    """
    if frame.is_empty():
        return []
    target = io.BytesIO()
    frame.select([column.name for column in columns]).rechunk().write_avro(target)
    buffer = _datums(target.getbuffer(), frame.height)
    # Polars writes every value and every item as a union with null, so lengths are counted with a branch.
    # The branch is dropped where the schema
    # has no union, and turned round where its null stands last.
    written = [
        sizes if column.nullable else sizes + 1
        for column, sizes in zip(columns, all_lengths(frame, columns, item_extra=1), strict=True)
    ]
    row_sizes = np.sum(written, axis=0)
    place = np.cumsum(row_sizes) - row_sizes
    keep = np.ones(len(buffer), dtype=np.bool_)
    for column, sizes in zip(columns, written, strict=True):
        if not column.nullable:
            keep[place] = False
            row_sizes = row_sizes - 1
        elif column.null_last:
            buffer[place] ^= 2
        if column.repeated:
            branches, counts = _item_branches(frame[column.name], column, place)
            keep[branches] = False
            row_sizes = row_sizes - counts
        place = place + sizes
    data = buffer[keep].tobytes()
    ends = np.cumsum(row_sizes)
    if len(data) != ends[-1]:
        raise FaultError(
            f"{frame.height} records take {len(data)} bytes where their columns imply {ends[-1]}"
        )
    starts = (ends - row_sizes).tolist()
    return [head + data[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


def _item_branches(values: pl.Series, column: Column, place: Lengths) -> tuple[Lengths, Lengths]:
    """Where the branch of each item of an array lies, and how many items each row has."""
    counts = values.list.len().cast(pl.Int64).to_numpy()
    sizes = value_lengths(flattened(values), column.kind) + 1
    before = np.cumsum(sizes) - sizes
    first_item = np.cumsum(counts) - counts
    some = counts > 0
    # In each row the items follow the array's own branch and its count.
    row_starts = place[some] + 1 + varint_lengths(counts[some])
    within_row = before - np.repeat(before[first_item[some]], counts[some])
    return np.repeat(row_starts, counts[some]) + within_row, counts


def _datums(file: memoryview, rows: int) -> npt.NDArray[np.uint8]:
    """The records of an Avro container file without its header, block headers and markers."""
    position = bytes(file[:65536]).index(b"avro.schema") + len(b"avro.schema")
    size, position = _read_long(file, position)
    position += size
    position += 1 + 16
    parts, found = [], 0
    while position < len(file):
        count, position = _read_long(file, position)
        size, position = _read_long(file, position)
        parts.append(np.frombuffer(file, dtype=np.uint8, count=size, offset=position))
        position += size + 16
        found += count
    if found != rows:
        raise FaultError(f"Polars wrote {found} Avro records for {rows} rows")
    return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)


def _read_long(data: memoryview, position: int) -> tuple[int, int]:
    folded, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        folded |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (folded >> 1) ^ -(folded & 1), position
        shift += 7
