"""From the columns that were written to the columns that a reader expects.

Avro's rules of schema resolution on whole columns: a field that the data lack takes its default, a field that
the reader lacks is dropped, numbers widen, bytes and strings turn into each other, aliases are followed.

Guarantee: what comes out has exactly the reader's columns and types, and says of each row that has no value
there why. fastavro's record-by-record resolution is the twin that this is tested against.
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import ComputeError

from schemas.compatibility import logical_changes
from schemas.records import AvroType, Column, flat_columns

_WIDER = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}

_EPOCH = dt.date(1970, 1, 1)
_RANGES = {
    "date": ((dt.date.min - _EPOCH).days, (dt.date.max - _EPOCH).days),
    "timestamp-micros": (
        (dt.date.min - _EPOCH).days * 86_400_000_000,
        ((dt.date.max - _EPOCH).days + 1) * 86_400_000_000 - 1,
    ),
}
"""Python's years 1 to 9999, in days and microseconds since 1970; what lies outside breaks later readers."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How data of one schema become columns of another.

    Attributes:
        refusal: Why no message of this writer can be read; None when they can.
        written: Columns of the writer's schema, or None when it is not flat.
        steps: For each column of the reader the written column that it comes from, or None for its default;
            None as a whole when either schema is not flat.
    """

    refusal: str | None = None
    written: tuple[Column, ...] | None = None
    steps: tuple[tuple[Column, Column | None], ...] | None = None


def resolution(writer: AvroType, reader: AvroType) -> Resolution:
    """Decide how data of one schema become columns of another.

    Args:
        writer: Avro schema as parsed JSON.
        reader: Avro schema as parsed JSON.
    """
    refusal = _refusal(writer, reader)
    if refusal is not None:
        return Resolution(refusal=refusal)
    written, wanted = flat_columns(writer), flat_columns(reader)
    if written is None or wanted is None:
        return Resolution()
    by_name = {column.name: column for column in written}
    steps = []
    for column in wanted:
        names = [name for name in (column.name, *column.aliases) if name in by_name]
        source = by_name[names[0]] if names else None
        problem = _field_problem(column, source)
        if problem is not None:
            return Resolution(refusal=problem)
        steps.append((column, source))
    return Resolution(written=written, steps=tuple(steps))


def _refusal(writer: AvroType, reader: AvroType) -> str | None:
    if not isinstance(writer, dict) or writer.get("type") != "record":
        return f"its schema is no record: {json.dumps(writer)[:80]}"
    plain = writer["name"].rsplit(".", 1)[-1]
    wanted = reader["name"].rsplit(".", 1)[-1]
    if plain not in (wanted, *(alias.rsplit(".", 1)[-1] for alias in reader.get("aliases", ()))):
        return f"it is a {plain}, expected a {wanted}"
    changes = logical_changes(reader, writer)
    return "; ".join(changes) or None


def _field_problem(column: Column, source: Column | None) -> str | None:
    if source is None:
        return None if column.default else f"field {column.name!r} is not in the data and has no default"
    if source.nullable and not column.nullable:
        return f"field {column.name!r} may be null in the data, and not in the reader"
    same_shape = source.repeated == column.repeated
    if not same_shape or column.kind not in _WIDER.get(source.kind, {source.kind}):
        return f"field {column.name!r} is {_shape(source)} in the data, expected {_shape(column)}"
    return None


def _shape(column: Column) -> str:
    return f"an array of {column.kind}" if column.repeated else column.kind


def resolve(frame: pl.DataFrame, how: Resolution) -> tuple[pl.DataFrame, dict[int, str]]:
    """Turn written columns into the reader's.

    Args:
        frame: Columns of the writer in physical types.
        how: The resolution; it has steps.

    Returns:
        The reader's columns, one row for each row given, and for each row that is bad the reason.
    """
    bad: dict[int, str] = {}
    columns = []
    for column, source in how.steps or ():
        if source is None:
            columns.append(default_values(column, frame.height).alias(column.name))
            continue
        values = frame[source.name].alias(column.name)
        if column.kind == "enum":
            values = _symbols(values, source, column, bad)
        elif values.dtype != column.physical:
            values = _widened(values, column, bad)
        columns.append(with_logical_type(values, column, bad))
    return pl.DataFrame(columns), bad


def default_values(column: Column, rows: int) -> pl.Series:
    """A column that holds the field's default in every row."""
    default: Any = column.default[0]
    if column.kind == "bytes" and default is not None:
        # Avro writes the default of bytes as text, one character a byte.
        default = (
            [item.encode("latin-1") for item in default] if column.repeated else default.encode("latin-1")
        )
    physical = pl.String() if column.kind == "enum" else column.physical
    values = pl.Series(column.name, [default], dtype=physical)
    return with_logical_type(values, column, {}).new_from_index(0, rows)


def _widened(values: pl.Series, column: Column, bad: dict[int, str]) -> pl.Series:
    try:
        widened = values.cast(column.physical, strict=False)
    except ComputeError:
        # Polars refuses the whole column for one value that is no UTF-8.
        texts = [_text(value) for value in values]
        widened = pl.Series(values.name, texts, dtype=column.physical)
    lost = widened.is_null() & values.is_not_null()
    if column.repeated:
        lost |= widened.list.eval(pl.element().is_null()).list.any()
    _mark(bad, lost, lambda _: f"field {column.name!r} does not turn into {_shape(column)}")
    return widened


def _text(value: Any) -> Any:
    """Bytes as text, also inside of a list; None for what is no UTF-8."""
    if isinstance(value, pl.Series):
        return [_text(item) for item in value]
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _symbols(values: pl.Series, source: Column, column: Column, bad: dict[int, str]) -> pl.Series:
    outside = ((values < 0) | (values >= len(source.symbols))).fill_null(value=False)
    _mark(
        bad, outside, lambda row: f"field {column.name!r} names symbol {values[row]} of {len(source.symbols)}"
    )
    names = pl.Series(
        [symbol if symbol in column.symbols else None for symbol in source.symbols], dtype=pl.String
    )
    numbers = pl.select(pl.when(outside).then(None).otherwise(values)).to_series()
    found = names.gather(numbers).alias(column.name)
    unknown = found.is_null() & numbers.is_not_null()
    _mark(
        bad,
        unknown,
        lambda row: f"field {column.name!r} is {source.symbols[values[row]]!r}, unknown to the reader",
    )
    return found


def with_logical_type(values: pl.Series, column: Column, bad: dict[int, str]) -> pl.Series:
    """Give numbers their logical type; those outside of the years 1 to 9999 are marked as bad."""
    if column.logical is None:
        return values
    least, most = _RANGES[column.logical]
    outside = ((values < least) | (values > most)).fill_null(value=False)
    if outside.any():
        _mark(
            bad,
            outside,
            lambda row: f"field {column.name!r} is {values[row]}, outside of the years 1 to 9999",
        )
        values = pl.select(pl.when(outside).then(None).otherwise(values).alias(values.name)).to_series()
    return values.cast(column.dtype)


def _mark(bad: dict[int, str], rows: pl.Series, reason: Callable[[int], str]) -> None:
    if rows.any():
        for row in np.flatnonzero(rows.fill_null(value=False).to_numpy()).tolist():
            bad.setdefault(row, reason(row))
