"""The vectorised codec is compared with fastavro, message by message; bad messages cost only themselves."""

import datetime as dt
import io
import json
import random
import struct
from collections.abc import Sequence
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import FaultError, UndecodableError
from schemas.codec import Codec, Decoded
from schemas.records import frame_schema, schema_of_record, schema_text
from schemas.registry import Registry
from schemas.rows import read_frame

UTC = dt.UTC
FLAT = ("Sale", "SaleError", "Location", "Product", "Price", "Event")
NESTED = ("DeliveryEvent", "DeliveryTally", "DeliveryReport")

property_test = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=70)
moments = st.datetimes(timezones=st.just(UTC))


def values_of(avro: Any) -> st.SearchStrategy[Any]:
    """Values of an Avro type, the extremes among them."""
    if isinstance(avro, list):
        return st.one_of(*(values_of(branch) for branch in avro))
    kind, logical = (avro, None) if isinstance(avro, str) else (avro["type"], avro.get("logicalType"))
    if logical is not None:
        return {"timestamp-micros": moments, "date": st.dates()}[logical]
    match kind:
        case "array":
            return st.lists(values_of(avro["items"]), max_size=70)
        case "map":
            return st.dictionaries(texts, values_of(avro["values"]), max_size=5)
        case "enum":
            return st.sampled_from(avro["symbols"])
        case "record":
            return records_of(avro)
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32, allow_nan=False),
        "double": st.floats(allow_nan=False),
        "bytes": st.binary(max_size=200),
        "string": texts,
    }[kind]


def records_of(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field["name"]: values_of(field["type"]) for field in schema["fields"]})


def written(schema: Any, record: dict[str, Any], schema_id: int) -> bytes:
    """The twin: fastavro, record by record."""
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(schema), record)
    return struct.pack(">bI", 0, schema_id) + target.getvalue()


def read_by_twin(value: bytes, writer: Any, reader: Any) -> dict[str, Any] | None:
    source = io.BytesIO(value[5:])
    try:
        parsed = fastavro.parse_schema(reader)
        record = fastavro.schemaless_reader(source, fastavro.parse_schema(writer), parsed)
        if source.tell() == len(value) - 5 and fastavro.validate(record, parsed, raise_errors=False):
            return dict(record)  # type: ignore[arg-type]
    except Exception:
        return None
    return None


def comparable(records: Sequence[dict[str, Any]], schema: Any) -> str:
    """Records as text, so that NaN is NaN; maps as their items, times without their zone's class."""
    maps = {
        field["name"]
        for field in schema["fields"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "map"
    }

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, dt.datetime):
            return value.astimezone(UTC)
        if name in maps and isinstance(value, list):
            return {item["key"]: item["value"] for item in value}
        return value

    return repr([{name: plain(name, value) for name, value in record.items()} for record in records])


def agrees_with_twin(codec: Codec, values: Sequence[bytes], writer: Any, reader: Any) -> Decoded:
    decoded = codec.decode(values)
    twin = {
        place: record
        for place, value in enumerate(values)
        if (record := read_by_twin(value, writer, reader)) is not None
    }
    assert decoded.rows.tolist() == list(twin)
    assert set(decoded.bad) == set(range(len(values))) - set(twin)
    assert comparable(decoded.frame.to_dicts(), reader) == comparable(list(twin.values()), reader)
    return decoded


@pytest.fixture(scope="module")
def ids(registry: Registry) -> dict[str, int]:
    return {name: registry.register(f"{name}-codec", schema_text(name)) for name in FLAT + NESTED}


@pytest.mark.parametrize("name", FLAT + NESTED)
@property_test
@given(data=st.data())
def test_columns_and_records_have_the_same_bytes(
    name: str, data: st.DataObject, registry: Registry, ids: dict[str, int]
) -> None:
    schema = schema_of_record(name)
    records = data.draw(st.lists(records_of(schema), min_size=1, max_size=8))
    values = [written(schema, record, ids[name]) for record in records]
    codec = Codec(name, registry)
    decoded = agrees_with_twin(codec, values, schema, schema)
    assert decoded.bad == {}
    assert dict(decoded.frame.schema) == frame_schema(name)
    assert codec.encode(decoded.frame) == values
    assert [codec.encode_record(record) for record in records] == values


def sales(count: int, seed: int = 0) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    start = dt.datetime(2026, 11, 1, tzinfo=UTC)
    return [
        {
            "customer_id": "fresh-mart",
            "delivery_id": 10 + number // 100,
            "position": number,
            "received_at": start,
            "sale_id": f"R{number}",
            "location_id": f"L{number % 9}",
            "product_id": chance.choice(["MILK", "BRÖT", None]),
            "sold_at": start + dt.timedelta(seconds=number),
            "quantity": chance.choice([1.0, -2.5, None]),
            "unit_price": chance.choice([0.5, None, float("nan")]),
            "voided": False,
            "repeated": number % 2 == 0,
            "defect": None,
            "original": None,
        }
        for number in range(count)
    ]


def poisoned(value: bytes, chance: random.Random) -> bytes:
    """One of the ways in which a message can be bad (or, seldom, remain good)."""
    place = chance.randrange(5, len(value))
    match chance.randrange(6):
        case 0:
            return value[:place]
        case 1:
            return value + chance.randbytes(chance.randrange(1, 9))
        case 2:
            return value[:5] + chance.randbytes(len(value) - 5)
        case 3:
            return value[:place] + bytes([value[place] ^ (1 << chance.randrange(8))]) + value[place + 1 :]
        case 4:
            return value[:place] + chance.randbytes(chance.randrange(9)) + value[place:]
    return value[:5]


@pytest.mark.parametrize("seed", range(60))
def test_poison_in_a_batch_costs_only_itself(seed: int, registry: Registry, ids: dict[str, int]) -> None:
    chance, schema = random.Random(seed), schema_of_record("Sale")
    values = [written(schema, record, ids["Sale"]) for record in sales(40, seed)]
    for place in chance.sample(range(40), chance.randrange(1, 4)):
        values[place] = poisoned(values[place], chance)
    agrees_with_twin(Codec("Sale", registry), values, schema, schema)


@pytest.mark.parametrize("seed", range(30))
def test_poison_in_arrays_costs_only_itself(seed: int, registry: Registry, ids: dict[str, int]) -> None:
    chance, schema = random.Random(seed), schema_of_record("SaleError")
    record = {
        "content": "sales",
        "codes": ["a", "bb"],
        "messages": ["what was found", ""],
        "original": b"\x00\xff",
        "judged_at": dt.datetime(2026, 1, 1, tzinfo=UTC),
    }
    values = [written(schema, record, ids["SaleError"]) for _ in range(20)]
    for place in chance.sample(range(20), 2):
        values[place] = poisoned(values[place], chance)
    agrees_with_twin(Codec("SaleError", registry), values, schema, schema)


def test_a_large_batch_is_read_in_columns_but_for_the_neighbours_of_poison(
    registry: Registry, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one: list[int] = []

    def counted(bodies: Sequence[bytes], writer: Any, reader: Any) -> tuple[pl.DataFrame, dict[int, str]]:
        one_by_one.append(len(bodies))
        return read_frame(bodies, writer, reader)

    monkeypatch.setattr("schemas.codec.read_frame", counted)
    schema = schema_of_record("Sale")
    values: list[bytes | None] = [written(schema, record, ids["Sale"]) for record in sales(3_000)]
    codec = Codec("Sale", registry)
    assert codec.decode(values).frame.height == 3_000
    assert one_by_one == []
    values[1_700] = (values[1_700] or b"") + b"\x00"
    values[2_999] = None
    decoded = codec.decode(values)
    assert sum(one_by_one) <= 512
    assert decoded.bad == {
        1_700: "1 bytes follow the end of the record",
        2_999: "a tombstone: the message has no value",
    }
    assert decoded.frame["position"].to_list() == decoded.rows.tolist()


def test_bytes_that_move_from_one_message_to_the_next_are_noticed(
    registry: Registry, ids: dict[str, int]
) -> None:
    schema = schema_of_record("Sale")
    values = [written(schema, record, ids["Sale"]) for record in sales(6)]
    values[2], values[3] = values[2] + values[3][5:9], values[3][:5] + values[3][9:]
    assert set(agrees_with_twin(Codec("Sale", registry), values, schema, schema).bad) >= {2}


def test_a_header_that_is_none_is_reported(registry: Registry, ids: dict[str, int]) -> None:
    good = written(schema_of_record("Sale"), sales(1)[0], ids["Sale"])
    unknown = struct.pack(">bI", 0, 2**32 - 1) + good[5:]
    other = written(
        schema_of_record("Location"),
        {
            "customer_id": "a",
            "delivery_id": 1,
            "position": 1,
            "received_at": dt.datetime(2026, 1, 1, tzinfo=UTC),
            "location_id": "L",
        },
        ids["Location"],
    )
    decoded = Codec("Sale", registry).decode([b"", b"\x00\x00", b'{"a": 1}', unknown, other, good, None])
    assert decoded.rows.tolist() == [5]
    assert {place: reason.split(":")[-1].strip() for place, reason in decoded.bad.items()} == {
        0: "0 bytes, shorter than the 5 of a header",
        1: "2 bytes, shorter than the 5 of a header",
        2: "its first byte is 123, expected 0, which says that a schema id follows",
        3: "the registry has no Avro schema of id 4294967295",
        4: "it is a Location, expected a Sale",
        6: "the message has no value",
    }


def test_no_values_give_no_rows(registry: Registry) -> None:
    codec = Codec("Sale", registry)
    decoded = codec.decode([])
    assert decoded.frame.schema == codec.empty.schema
    assert (decoded.rows.tolist(), decoded.bad) == ([], {})
    assert codec.encode(codec.empty) == []


def test_times_outside_of_the_calendar_are_bad(registry: Registry, ids: dict[str, int]) -> None:
    bare = json.loads(schema_text("Sale").replace(',"logicalType":"timestamp-micros"', ""))
    records = [
        {**record, "received_at": 0, "sold_at": sold_at}
        for record, sold_at in zip(sales(3), (0, 2**62, -(2**62)), strict=True)
    ]
    values = [written(bare, record, ids["Sale"]) for record in records]
    schema = schema_of_record("Sale")
    decoded = agrees_with_twin(Codec("Sale", registry), values, schema, schema)
    assert set(decoded.bad) == {1, 2}
    assert "years 1 to 9999" in decoded.bad[1]


def test_one_batch_may_hold_several_versions(registry: Registry, ids: dict[str, int]) -> None:
    schema = schema_of_record("Sale")
    older = {
        **schema,
        "fields": [field for field in schema["fields"] if field["name"] not in ("defect", "voided")],
    }
    older_id = registry.register("Sale-older-codec", json.dumps(older))
    records = sales(50)
    values = [
        written(schema if number % 3 else older, record, ids["Sale"] if number % 3 else older_id)
        for number, record in enumerate(records)
    ]
    decoded = Codec("Sale", registry).decode([*values[:10], None, *values[10:]])
    assert decoded.bad == {10: "a tombstone: the message has no value"}
    assert decoded.rows.tolist() == [*range(10), *range(11, 51)]
    assert comparable(decoded.frame.to_dicts(), schema) == comparable(records, schema)


def test_a_record_is_refused_with_its_reason(registry: Registry, ids: dict[str, int]) -> None:
    codec = Codec("deliveries", registry)
    for value, reason in (
        (None, "tombstone"),
        (b"x", "shorter"),
        (struct.pack(">bI", 0, ids["DeliveryEvent"]), "EOF"),
    ):
        with pytest.raises(UndecodableError, match=reason):
            codec.decode_record(value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pl.col("customer_id").replace("fresh-mart", None), "'customer_id' has 2 nulls"),
        (pl.col("quantity").cast(pl.String), "'quantity' is String, expected Float64"),
        (pl.col("sold_at").dt.replace_time_zone(None), "'sold_at' is Datetime.*expected Datetime"),
        (pl.col("position").cast(pl.Float64), "'position' is Float64, expected Int64"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(change: pl.Expr, reason: str, registry: Registry) -> None:
    frame = pl.DataFrame(sales(2), schema=frame_schema("Sale"))
    with pytest.raises(FaultError, match=reason):
        Codec("sales-input", registry).encode(frame.with_columns(change))


def test_a_column_left_out_takes_its_default_or_is_missed(registry: Registry) -> None:
    codec = Codec("sales-input", registry)
    frame = pl.DataFrame(sales(2), schema=frame_schema("Sale"))
    decoded = codec.decode(codec.encode(frame.drop("voided", "quantity").with_columns(extra=1)))
    assert decoded.frame["voided"].to_list() == [False, False]
    assert decoded.frame["quantity"].to_list() == [None, None]
    with pytest.raises(FaultError, match="'position' is missing"):
        codec.encode(frame.drop("position"))


def test_types_that_lose_nothing_are_taken(registry: Registry) -> None:
    codec = Codec("sales-input", registry)
    frame = pl.DataFrame(sales(3), schema=frame_schema("Sale"))
    narrow = frame.with_columns(
        pl.col("position").cast(pl.Int32),
        pl.col("location_id").cast(pl.Categorical),
        pl.col("sold_at").cast(pl.Datetime("ms", "UTC")),
        pl.lit(None).alias("defect"),
    )
    assert codec.encode(narrow) == codec.encode(frame)


def test_nulls_inside_of_lists_and_naive_times_are_refused(registry: Registry) -> None:
    codec = Codec("sales-error", registry)
    record = {
        "content": "sales",
        "codes": ["a"],
        "messages": [],
        "original": b"",
        "judged_at": dt.datetime.now(UTC).replace(tzinfo=None),
    }
    with pytest.raises(FaultError, match="no time zone"):
        codec.encode_record(record)
    frame = pl.DataFrame(
        {
            "content": ["sales"],
            "codes": [["a", None]],
            "messages": [["b"]],
            "original": [b""],
            "judged_at": [dt.datetime(2026, 1, 1, tzinfo=UTC)],
        }
    )
    with pytest.raises(FaultError, match="'codes' has nulls inside"):
        codec.encode(frame)


def test_a_record_with_a_field_that_is_none_of_it_is_refused(registry: Registry) -> None:
    with pytest.raises(FaultError, match=r"has no field \['colour'\]"):
        Codec("events", registry).encode_record({"colour": "red"})
