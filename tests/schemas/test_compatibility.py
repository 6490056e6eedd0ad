"""Which schemas may follow each other, and why not."""

import json
from typing import Any

import pytest

from infra.errors import IncompatibleSchemaError
from schemas.compatibility import Level, incompatibilities, parse, unreadable


def record(*fields: dict[str, Any], name: str = "Sale", **more: Any) -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields), **more})


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
BASE = record(field("a", "int"))
WITH_DEFAULT = record(field("a", "int"), field("b", "string", default=""))
WITHOUT_DEFAULT = record(field("a", "int"), field("b", "string"))
WIDER = record(field("a", "long"))


@pytest.mark.parametrize(
    ("new", "older", "level", "allowed"),
    [
        (WITH_DEFAULT, [BASE], "FULL", True),
        (BASE, [WITH_DEFAULT], "FULL", True),
        (WITHOUT_DEFAULT, [BASE], "BACKWARD", False),
        (WITHOUT_DEFAULT, [BASE], "FORWARD", True),
        (WITHOUT_DEFAULT, [BASE], "FULL", False),
        (BASE, [WITHOUT_DEFAULT], "BACKWARD", True),
        (BASE, [WITHOUT_DEFAULT], "FORWARD", False),
        (WIDER, [BASE], "BACKWARD", True),
        (WIDER, [BASE], "FORWARD", False),
        (WITHOUT_DEFAULT, [BASE], "NONE", True),
        (WITHOUT_DEFAULT, [], "FULL_TRANSITIVE", True),
        # The newest version carries the default that the oldest lacks.
        (WITHOUT_DEFAULT, [BASE, WITH_DEFAULT], "BACKWARD", True),
        (WITHOUT_DEFAULT, [BASE, WITH_DEFAULT], "BACKWARD_TRANSITIVE", False),
        (BASE, [WITHOUT_DEFAULT, WITH_DEFAULT], "FORWARD", True),
        (BASE, [WITHOUT_DEFAULT, WITH_DEFAULT], "FORWARD_TRANSITIVE", False),
        (BASE, [WITHOUT_DEFAULT, WITH_DEFAULT], "FULL", True),
        (BASE, [WITHOUT_DEFAULT, WITH_DEFAULT], "FULL_TRANSITIVE", False),
    ],
)
def test_each_level_keeps_what_it_promises(new: str, older: list[str], level: Level, allowed: bool) -> None:
    assert (incompatibilities(new, older, level) == []) is allowed


@pytest.mark.parametrize(
    ("reader", "writer", "reason"),
    [
        (
            field("a", decimal(10, 3)),
            field("a", decimal(10, 2)),
            "field 'a': the logical type is decimal precision 10 scale 2 in the data and decimal",
        ),
        (field("a", decimal(12, 2)), field("a", decimal(10, 2)), "decimal precision 10 scale 2 in the data"),
        (
            field("a", "bytes"),
            field("a", decimal(10, 2)),
            "decimal precision 10 scale 2 in the data and none",
        ),
        (
            field("a", MILLIS),
            field("a", MICROS),
            "is timestamp-micros in the data and timestamp-millis in the reader",
        ),
        (field("a", "long"), field("a", MICROS), "is timestamp-micros in the data and none in the reader"),
        (field("a", MICROS), field("a", "long"), "is none in the data and timestamp-micros in the reader"),
        (field("a", ["null", MILLIS]), field("a", ["null", MICROS]), "field 'a': the logical type"),
        (field("a", ["null", MILLIS]), field("a", MICROS), "field 'a': the logical type"),
        (
            field("a", {"type": "array", "items": MILLIS}),
            field("a", {"type": "array", "items": MICROS}),
            "field 'a'",
        ),
        (
            field("a", {"type": "map", "values": MILLIS}),
            field("a", {"type": "map", "values": MICROS}),
            "field 'a'",
        ),
        (field("a", MICROS), field("a", {"type": "int", "logicalType": "date"}), "is date in the data"),
    ],
)
def test_a_changed_logical_type_is_no_compatible_change(
    reader: dict[str, Any], writer: dict[str, Any], reason: str
) -> None:
    assert any(reason in found for found in unreadable(record(reader), record(writer)))


def test_the_place_of_a_nested_change_is_told() -> None:
    def nested(kind: Any) -> str:
        return record(
            field("lines", {"type": "array", "items": json.loads(record(field("at", kind), name="Line"))})
        )

    assert unreadable(nested(MICROS), nested(MICROS)) == []
    (reason,) = unreadable(nested(MILLIS), nested(MICROS))
    assert reason.startswith("field 'lines.at': the logical type")


def test_a_type_within_itself_is_walked_once() -> None:
    tree = record(field("at", MICROS), field("next", ["null", "Sale"], default=None))
    changed = tree.replace("micros", "millis")
    assert unreadable(tree, tree) == []
    assert len(unreadable(changed, tree)) == 1


@pytest.mark.parametrize(
    ("reader", "writer", "reason"),
    [
        (WITHOUT_DEFAULT, BASE, "field 'b' is not in the data and has no default"),
        (
            record(field("a", "int"), name="Other"),
            BASE,
            "the record is called 'Sale' where 'Other' is expected",
        ),
        (BASE, WIDER, "field 'a': the type differs (reader type: int not compatible with writer type: long)"),
        (BASE, record(field("a", ["null", "int"])), "field 'a': the type differs"),
        (
            record(field("a", {"type": "enum", "name": "E", "symbols": ["x"]})),
            record(field("a", {"type": "enum", "name": "E", "symbols": ["x", "y"]})),
            "field 'a': a symbol is unknown",
        ),
        ('"int"', '"long"', "the type differs"),
    ],
)
def test_reasons_are_in_words(reader: str, writer: str, reason: str) -> None:
    assert any(found.startswith(reason) for found in unreadable(reader, writer)), unreadable(reader, writer)


def test_an_alias_is_followed() -> None:
    renamed = record(field("b", MICROS, aliases=["a"]))
    assert unreadable(renamed, record(field("a", MICROS))) == []
    assert unreadable(renamed, record(field("a", MILLIS))) != []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]" * 2,
        '"nothing"',
        '{"type": "record"}',
        '{"type": "record", "name": "x", "fields": [{"name": "a"}]}',
        '{"type": "enum", "name": "E", "symbols": ["a", "a"]}',
        "7",
        "null",
        '{"type": "record", "name": 5, "fields": 3}',
    ],
)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(IncompatibleSchemaError, match="not an Avro schema"):
        parse(text)
