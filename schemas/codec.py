"""Bytes ⇄ columns: the values of a topic's messages in Confluent's wire format.

A value is a zero byte, the four bytes of its writer's schema id, and the Avro record. Thousands of messages
become columns at once; record by record only what is not flat, and the neighbours of a bad message.

Guarantee: a bad message costs only itself. It is reported with its place and the reason; every other message
of the batch comes out right, in order.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from fastavro.schema import SchemaParseException, UnknownType

from infra.errors import FaultError, UndecodableError
from schemas.blocks import read_block, write_block
from schemas.catalogue import CATALOGUE, subject_of
from schemas.records import (
    AvroType,
    Column,
    dtype_of,
    flat_columns,
    schema_of_record,
    schema_text,
)
from schemas.registry import Registry
from schemas.resolution import Resolution, default_values, resolution, resolve
from schemas.rows import RecordReader, parsed, read_frame, records_of, write_record

HEAD_BYTES = 5
_HEAD = struct.Struct(">bI")
_NEIGHBOURS = 512
"""Most messages that are read one by one around a bad one."""
_PARTS = 4
"""Into how many parts a block is cut in search of the bad message."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of values held.

    Attributes:
        frame: One row for each good message, in order; the reader's columns.
        rows: Place in the input of each row, shape `(frame.height,)`, rising.
        bad: Place in the input of each other message, with the reason in words.
    """

    frame: pl.DataFrame
    rows: Rows
    bad: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Writer:
    """A schema that values were written with, and how it is read."""

    schema: AvroType
    how: Resolution
    one: RecordReader


class Codec:
    """Turns columns into the values of one topic's messages, and back.

    It asks the registry for the id of its own schema before the first value is encoded, and once for each
    unknown id. Not to be shared between threads.
    """

    def __init__(self, name: str, registry: Registry) -> None:
        """Choose the topic.

        Args:
            name: A topic of the catalogue, or the name of a record; the values of a record that is in several
                topics are the same in all of them.
            registry: Where schemas have their ids.

        Raises:
            MissingPartError: There is no such topic or record.
        """
        topic = next((topic for topic in CATALOGUE.values() if name in (topic.name, topic.record)), None)
        self._record = topic.record if topic is not None else name
        self._schema = schema_of_record(self._record)
        self._subject = subject_of(topic.name if topic is not None else self._record)
        self._registry = registry
        self._parsed = parsed(self._schema)
        self._columns = flat_columns(self._schema)
        self._dtypes = {field["name"]: dtype_of(field["type"]) for field in self._schema["fields"]}
        self._writers: dict[int, _Writer] = {}
        self._head: bytes | None = None

    @property
    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of this codec."""
        return pl.DataFrame(schema=self._dtypes)

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """The value of each row.

        Args:
            frame: The record's columns in any order; others are ignored. A column that is left out takes its
                default.

        Raises:
            FaultError: A column without a default is missing, has another type, or has nulls where none
                may be.
            IncompatibleSchemaError: The registry refuses this schema.
            UnavailableError: The registry does not answer.
        """
        head = self._written_head()
        if self._columns is None:
            return [head + write_record(record, self._parsed) for record in records_of(frame, self._schema)]
        physical = pl.DataFrame([_physical(frame, column) for column in self._columns])
        return write_block(physical, self._columns, head)

    def encode_record(self, record: Mapping[str, Any]) -> bytes:
        """The value of one record; timestamps are aware datetimes.

        Raises:
            FaultError: A field is missing, unknown or does not fit its type.
            IncompatibleSchemaError: The registry refuses this schema.
            UnavailableError: The registry does not answer.
        """
        return self._written_head() + write_record(record, self._parsed)

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """The columns of a batch of values.

        Args:
            values: Values of messages; None is a tombstone, and reported as bad.

        Raises:
            UnavailableError: The registry does not answer and an id is unknown; ask again later.
        """
        alike = self._decoded_alike(values)
        if alike is not None:
            return alike
        bad: dict[int, str] = {}
        groups = _by_schema_id(values, bad)
        frames, places = [], []
        for schema_id, rows in groups.items():
            try:
                writer = self._writer(schema_id)
            except UndecodableError as error:
                bad.update(dict.fromkeys(rows.tolist(), str(error)))
                continue
            bodies = [value[HEAD_BYTES:] for value in _picked(values, rows)]
            frame, refused = self._read(bodies, writer)
            bad.update({int(rows[place]): reason for place, reason in refused.items()})
            frames.append(frame)
            places.append(np.delete(rows, sorted(refused)) if refused else rows)
        if not frames:
            return Decoded(self.empty, np.empty(0, dtype=np.int64), bad)
        if len(frames) == 1:
            return Decoded(frames[0], places[0], bad)
        mixed = np.concatenate(places)
        order = np.argsort(mixed, kind="stable")
        return Decoded(pl.concat(frames)[order], mixed[order], bad)

    def _decoded_alike(self, values: Sequence[bytes | None]) -> Decoded | None:
        """What values of one schema held, read without taking off their heads; None when they are not alike."""
        head = (values[0] or b"")[:HEAD_BYTES] if values else b""
        if len(head) < HEAD_BYTES or head[0] != 0 or None in values:
            return None
        try:
            writer = self._writer(_HEAD.unpack(head)[1])
        except UndecodableError:
            return None
        if writer.how.written is None:
            return None
        frame = read_block(cast("Sequence[bytes]", values), writer.how.written, head)
        if frame is None:
            return None
        frame, bad = _without_bad(*resolve(frame, writer.how))
        rows = np.arange(len(values), dtype=np.int64)
        return Decoded(frame, np.delete(rows, sorted(bad)) if bad else rows, bad)

    def decode_record(self, value: bytes | None) -> dict[str, Any]:
        """The fields of one value; timestamps are aware datetimes.

        Raises:
            UndecodableError: The value is none of this record, with the reason.
            UnavailableError: The registry does not answer and the id is unknown.
        """
        bad: dict[int, str] = {}
        for schema_id in _by_schema_id([value], bad):
            writer = self._writer(schema_id)
            return writer.one.read((value or b"")[HEAD_BYTES:])
        raise UndecodableError(bad[0])

    def _written_head(self) -> bytes:
        if self._head is None:
            self._head = _HEAD.pack(0, self._registry.register(self._subject, schema_text(self._record)))
        return self._head

    def _writer(self, schema_id: int) -> _Writer:
        if schema_id not in self._writers:
            schema = self._registry.schema_by_id(schema_id)
            how = resolution(schema, self._schema)
            if how.refusal is not None:
                raise UndecodableError(f"written with schema {schema_id}: {how.refusal}")
            try:
                one = RecordReader(schema, self._schema)
            except (SchemaParseException, UnknownType, KeyError, ValueError) as error:
                # Of what the registry took fastavro may still make nothing.
                raise UndecodableError(f"schema {schema_id} is no Avro schema: {error}") from error
            self._writers[schema_id] = _Writer(schema, how, one)
        return self._writers[schema_id]

    def _read(self, bodies: list[bytes], writer: _Writer) -> tuple[pl.DataFrame, dict[int, str]]:
        if writer.how.written is None:
            return read_frame(bodies, writer.schema, self._schema)
        frame = read_block(bodies, writer.how.written)
        if frame is not None:
            return _without_bad(*resolve(frame, writer.how))
        if len(bodies) <= _NEIGHBOURS:
            return read_frame(bodies, writer.schema, self._schema)
        frames, bad = [], {}
        size = -(-len(bodies) // _PARTS)
        for start in range(0, len(bodies), size):
            frame, refused = self._read(bodies[start : start + size], writer)
            frames.append(frame)
            bad.update({start + place: reason for place, reason in refused.items()})
        return pl.concat(frames), bad


def _picked(values: Sequence[bytes | None], rows: Rows) -> Sequence[bytes]:
    chosen = values if len(rows) == len(values) else [values[row] for row in rows.tolist()]
    return cast("Sequence[bytes]", chosen)


def _by_schema_id(values: Sequence[bytes | None], bad: dict[int, str]) -> dict[int, Rows]:
    """Places of the values that have a header, by the schema id in it; reasons of the others go to `bad`."""
    for place, value in enumerate(values):
        if value is None:
            bad[place] = "a tombstone: the message has no value"
        elif len(value) < HEAD_BYTES:
            bad[place] = f"{len(value)} bytes, shorter than the {HEAD_BYTES} of a header"
        elif value[0] != 0:
            bad[place] = f"its first byte is {value[0]}, expected 0, which says that a schema id follows"
    rows = np.delete(np.arange(len(values), dtype=np.int64), list(bad))
    heads = np.frombuffer(
        b"".join([value[1:HEAD_BYTES] for value in _picked(values, rows)]), dtype=">u4"
    ).astype(np.int64)
    return {int(schema_id): rows[heads == schema_id] for schema_id in np.unique(heads)}


def _without_bad(frame: pl.DataFrame, bad: dict[int, str]) -> tuple[pl.DataFrame, dict[int, str]]:
    if not bad:
        return frame, bad
    keep = np.ones(frame.height, dtype=np.bool_)
    keep[list(bad)] = False
    return frame.filter(pl.Series(keep)), bad


def _physical(frame: pl.DataFrame, column: Column) -> pl.Series:
    """A column of the frame as it lies on the wire."""
    if column.name not in frame.columns:
        if not column.default:
            raise FaultError(
                f"column {column.name!r} is missing and has no default; there are {frame.columns}"
            )
        values = default_values(column, frame.height)
    else:
        values = frame[column.name]
    if values.dtype != column.dtype:
        values = _widened(values, column)
    if not column.nullable and values.null_count():
        raise FaultError(f"column {column.name!r} has {values.null_count()} nulls, expected none")
    if column.repeated and values.list.eval(pl.element().is_null()).list.any().any():
        raise FaultError(f"column {column.name!r} has nulls inside its lists, expected none")
    if column.kind == "enum":
        return _symbol_numbers(values, column)
    return values if values.dtype == column.physical else values.to_physical().cast(column.physical)


_TAKEN = {
    pl.Int64: (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32),
    pl.Int32: (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16),
    pl.Float64: (pl.Float32, pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32),
    pl.Float32: (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16),
    pl.String: (pl.Categorical, pl.Enum),
}
"""Types that turn into a column's own without loss."""


def _widened(values: pl.Series, column: Column) -> pl.Series:
    dtype = column.dtype
    other_unit = (
        isinstance(values.dtype, pl.Datetime)
        and values.dtype.time_zone == "UTC"
        and dtype == pl.Datetime("us", "UTC")
    )
    empty_lists = column.repeated and values.dtype == pl.List(pl.Null)
    if values.dtype == pl.Null or other_unit or empty_lists or values.dtype in _TAKEN.get(type(dtype), ()):
        return values.cast(dtype)
    raise FaultError(f"column {column.name!r} is {values.dtype}, expected {dtype}")


def _symbol_numbers(values: pl.Series, column: Column) -> pl.Series:
    numbers = values.cast(pl.Enum(column.symbols), strict=False)
    unknown = values.filter(numbers.is_null() & values.is_not_null())
    if len(unknown):
        raise FaultError(f"column {column.name!r} has {unknown[0]!r}, expected one of {column.symbols}")
    return numbers.to_physical().cast(pl.Int32)
