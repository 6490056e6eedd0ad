"""Reading with another version of the schema: whole columns resolve as fastavro resolves each record."""

import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pytest

from schemas.blocks import read_block, write_block
from schemas.records import flat_columns
from schemas.resolution import default_values, resolution, resolve
from schemas.rows import read_frame

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
DATE = {"type": "int", "logicalType": "date"}
ENUM = {"type": "enum", "name": "E", "symbols": ["a", "b", "c"]}
LESS = {"type": "enum", "name": "E", "symbols": ["c", "a"]}


def record(*fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(kind: Any, name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def body(schema: Any, value: dict[str, Any]) -> bytes:
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(schema), value)
    return target.getvalue()


def both_ways(writer: Any, reader: Any, values: list[Any]) -> tuple[pl.DataFrame, list[int]]:
    """Columns at once, compared with record by record; returns the good rows and the places of the bad."""
    bodies = [body(writer, {"x": value}) for value in values]
    how = resolution(writer, reader)
    assert how.refusal is None
    assert how.written is not None
    block = read_block(bodies, how.written)
    assert block is not None
    frame, bad = resolve(block, how)
    keep = np.ones(frame.height, dtype=np.bool_)
    keep[list(bad)] = False
    twin, twin_bad = read_frame(bodies, writer, reader)
    assert set(bad) == set(twin_bad)
    good = frame.filter(pl.Series(keep))
    assert good.equals(twin)
    assert good.schema == twin.schema
    return good, sorted(bad)


@pytest.mark.parametrize(
    ("written", "read", "values"),
    [
        ("int", "int", [0, -1, 2**31 - 1]),
        ("int", "long", [0, -(2**31)]),
        ("int", "float", [0, 5]),
        ("int", "double", [2**31 - 1]),
        ("long", "double", [2**53 + 1, -(2**63)]),
        ("long", "float", [16_777_217]),
        ("float", "double", [0.1, float("inf")]),
        ("string", "bytes", ["é", ""]),
        ("bytes", "string", [b"a", b""]),
        ("int", ["null", "int"], [4]),
        ("int", ["long", "null"], [4]),
        (["null", "int"], ["null", "double"], [None, 3]),
        (["string", "null"], ["null", "string"], [None, "x", ""]),
        (["null", "string"], ["string", "null"], [None, "x", ""]),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [[], [1, 2], [3]]),
        ({"type": "array", "items": "string"}, {"type": "array", "items": "bytes"}, [["é"], [], []]),
        (MICROS, ["null", MICROS], [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
        (["null", DATE], ["null", DATE], [dt.date(1, 1, 1), None, dt.date.max]),
        (ENUM, ENUM, ["a", "c", "b"]),
        (["null", ENUM], ["null", ENUM], ["a", None]),
        (ENUM, LESS, ["a", "b", "c"]),
        ("bytes", "string", [b"\xff", b"a"]),
    ],
)
def test_a_type_is_read_as_another(written: Any, read: Any, values: list[Any]) -> None:
    both_ways(record(field(written)), record(field(read)), values)


def test_a_symbol_that_the_reader_does_not_know_spoils_its_own_row() -> None:
    good, bad = both_ways(record(field(ENUM)), record(field(LESS)), ["a", "b", "c", "b"])
    assert good["x"].to_list() == ["a", "c"]
    assert bad == [1, 3]


def test_bytes_that_are_no_text_spoil_their_own_row() -> None:
    good, bad = both_ways(record(field("bytes")), record(field("string")), [b"a", b"\xff", b"b"])
    assert good["x"].to_list() == ["a", "b"]
    assert bad == [1]
    written, read = (record(field({"type": "array", "items": kind})) for kind in ("bytes", "string"))
    assert both_ways(written, read, [[b"a", b"\xff"], [], [b"b"]])[1] == [0]


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ("string", "new", "new"),
        ("long", 7, 7),
        (["null", "string"], None, None),
        ("bytes", "\u00ff\u0001", b"\xff\x01"),
        ("boolean", True, True),
        (MICROS, 1_000_000, dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)),
        (DATE, 1, dt.date(1970, 1, 2)),
        (ENUM, "b", "b"),
        ({"type": "array", "items": "string"}, ["p"], ["p"]),
        ({"type": "array", "items": "string"}, [], []),
    ],
)
def test_an_added_field_takes_its_default(kind: Any, default: Any, value: Any) -> None:
    reader = record(field("int"), field(kind, "added", default=default))
    good, _ = both_ways(record(field("int")), reader, [1, 2])
    assert good["added"].to_list() == [value, value]


def test_a_removed_field_is_dropped_and_an_order_may_change() -> None:
    writer = record(field("string", "gone"), field("int", "x"), field("long", "y"))
    reader = record(field("long", "y"), field("int", "x"))
    bodies = [body(writer, {"gone": "é" * n, "x": n, "y": -n}) for n in range(5)]
    how = resolution(writer, reader)
    block = read_block(bodies, how.written or ())
    assert block is not None
    frame, _ = resolve(block, how)
    assert frame.equals(read_frame(bodies, writer, reader)[0])
    assert frame.columns == ["y", "x"]


def test_an_alias_is_followed() -> None:
    reader = record(field("long", "renamed", aliases=["x"]))
    good, _ = both_ways(record(field("int")), reader, [1, 2])
    assert good["renamed"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("writer", "reader", "reason"),
    [
        (record(field("int"), name="Other"), record(field("int")), "it is a Other, expected a R"),
        (record(field("long")), record(field("int")), "field 'x' is long in the data, expected int"),
        (record(field(["null", "int"])), record(field("int")), "field 'x' may be null in the data"),
        (record(field("int")), record(field("int", "y")), "field 'y' is not in the data and has no default"),
        (record(field("long")), record(field(MICROS)), "logical type is none in the data"),
        (
            record(field({"type": "array", "items": "int"})),
            record(field("int")),
            "an array of int in the data",
        ),
        ("string", record(field("int")), "its schema is no record"),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(writer: Any, reader: Any, reason: str) -> None:
    refusal = resolution(writer, reader).refusal
    assert refusal is not None
    assert reason in refusal


def test_a_record_may_have_an_older_name() -> None:
    reader = record(field("int"), name="New", aliases=["space.R"])
    assert resolution(record(field("int"), namespace="space"), reader).refusal is None


def test_a_null_that_stands_last_in_its_union_is_written_so() -> None:
    schema = record(
        field(["string", "null"]), field({"type": "array", "items": "long"}, "y"), field(ENUM, "z")
    )
    columns = flat_columns(schema)
    assert columns is not None
    rows: list[dict[str, Any]] = [
        {"x": None, "y": [1, 2**40], "z": "b"},
        {"x": "é", "y": [], "z": "a"},
        {"x": "", "y": [-1], "z": "c"},
    ]
    frame = pl.DataFrame(
        {
            "x": [row["x"] for row in rows],
            "y": [row["y"] for row in rows],
            "z": pl.Series([1, 0, 2], dtype=pl.Int32),
        }
    )
    bodies = [body(schema, row) for row in rows]
    assert write_block(frame, columns, b"") == bodies
    block = read_block(bodies, columns)
    assert block is not None
    assert block.equals(frame)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bodies: [bodies[0] + b"\x00", *bodies[1:]],
        lambda bodies: [bodies[0][:-1], *bodies[1:]],
        lambda bodies: [bodies[0][:-1], bodies[0][-1:] + bodies[1], *bodies[2:]],
        # The same number in more bytes than it needs: allowed, and read one by one.
        lambda bodies: [b"\x82\x00", *bodies[1:]],
    ],
)
def test_a_block_of_which_any_record_may_be_displaced_is_refused(
    spoil: Callable[[list[bytes]], list[bytes]],
) -> None:
    schema = record(field("long"))
    columns = flat_columns(schema) or ()
    bodies = [body(schema, {"x": number}) for number in (1, 2, 3)]
    assert read_block(bodies, columns) is not None
    assert read_block(spoil(bodies), columns) is None


@pytest.mark.parametrize("kind", ["boolean", ["null", "boolean"], ["boolean", "null"]])
def test_a_boolean_that_is_neither_true_nor_false_is_left_to_the_other_decoder(kind: Any) -> None:
    schema = record(field("string", "s"), field(kind), field("int", "y"))
    columns = flat_columns(schema) or ()
    rows: list[dict[str, Any]] = [{"s": "a" * n, "x": True, "y": 0} for n in range(3)]
    if kind != "boolean":
        rows.append({"s": "", "x": None, "y": 9})
    bodies = [body(schema, row) for row in rows]
    block = read_block(bodies, columns)
    assert block is not None
    assert block["x"].to_list() == [row["x"] for row in rows]
    assert read_block([*bodies[:1], bodies[1][:-2] + b"\x02" + bodies[1][-1:], *bodies[2:]], columns) is None


def test_a_nullable_list_or_a_map_is_read_record_by_record() -> None:
    for kind in ({"type": "map", "values": "long"}, ["null", {"type": "array", "items": "int"}]):
        assert flat_columns(record(field(kind))) is None
        assert resolution(record(field(kind)), record(field(kind))).steps is None


def test_defaults_have_the_type_of_their_column() -> None:
    (column,) = flat_columns(json.loads(json.dumps(record(field(["null", MICROS], default=None))))) or ()
    assert default_values(column, 2).dtype == pl.Datetime("us", "UTC")
