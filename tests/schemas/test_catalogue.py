"""The topics are what the catalogue says, on a real broker and a real registry."""

import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.errors import IncompatibleSchemaError, MissingPartError
from infra.kafka import admin
from infra.settings import Settings
from schemas.catalogue import (
    CATALOGUE,
    LOCATIONS,
    SALES_INPUT,
    SALES_RETENTION_MS,
    SALES_VALIDATED,
    apply,
    check,
    schema_of,
)
from schemas.codec import Codec
from schemas.registry import Registry
from tests.schemas.running import serving_registry


def test_a_second_apply_changes_nothing(installation: Settings) -> None:
    assert apply(installation) == []


def test_what_was_applied_passes_the_check(installation: Settings) -> None:
    assert check(installation) == []


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_example_survives_encoding(name: str, registry: Registry) -> None:
    codec = Codec(name, registry)
    assert CATALOGUE[name].examples
    for example in CATALOGUE[name].examples:
        decoded = codec.decode_record(codec.encode_record(example))
        assert {key: decoded[key] for key in example} == dict(example)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_examples_become_columns_and_the_same_bytes_again(name: str, registry: Registry) -> None:
    codec = Codec(name, registry)
    values = [codec.encode_record(example) for example in CATALOGUE[name].examples]
    decoded = codec.decode(values)
    assert decoded.bad == {}
    assert decoded.frame.schema == codec.empty.schema
    assert codec.encode(decoded.frame) == values


def test_same_records_have_the_same_bytes_before_and_after_validation(registry: Registry) -> None:
    example = CATALOGUE[SALES_INPUT].examples[0]
    value = Codec(SALES_INPUT, registry).encode_record(example)
    assert Codec(SALES_VALIDATED, registry).encode_record(example) == value
    assert Codec("Sale", registry).encode_record(example) == value


def test_versions_of_master_data_outlive_the_sales_that_need_them() -> None:
    for topic in CATALOGUE.values():
        if topic.owner == "ingest" and topic.cleanup == "compact":
            assert topic.compaction_lag_ms >= CATALOGUE[SALES_INPUT].retention_ms


def test_nothing_has_been_applied_to_a_new_broker(lone_broker: Settings) -> None:
    with serving_registry(lone_broker):
        differences = check(lone_broker)
        assert {(found.topic, found.aspect) for found in differences} == {
            (name, aspect) for name in CATALOGUE for aspect in ("topic", "compatibility", "schema")
        }
        changes = apply(lone_broker)
        assert {change.topic for change in changes} == set(CATALOGUE)
        assert len(changes) == 3 * len(CATALOGUE)
        assert check(lone_broker) == []


def test_what_is_not_as_agreed_is_named_and_left_as_it_is(lone_broker: Settings) -> None:
    client = admin(lone_broker)
    config = {"cleanup.policy": "compact", "retention.ms": "60000"}
    client.create_topics([NewTopic(SALES_INPUT, 2, 1, config=config)])[SALES_INPUT].result(20)
    with serving_registry(lone_broker):
        apply(lone_broker)
        registry = Registry(lone_broker)
        registry.set_level("locations-value", "NONE")
        found = {(item.topic, item.aspect, item.expected, item.found) for item in check(lone_broker)}
    assert found == {
        (SALES_INPUT, "partitions", "4", "2"),
        (SALES_INPUT, "cleanup.policy", "delete", "compact"),
        (SALES_INPUT, "retention.ms", str(SALES_RETENTION_MS), "60000"),
        (LOCATIONS, "compatibility", "FULL_TRANSITIVE", "NONE"),
    }


def test_a_schema_that_breaks_its_readers_is_refused_before_a_topic_is_made(lone_broker: Settings) -> None:
    with serving_registry(lone_broker):
        registry = Registry(lone_broker)
        older = schema_of(SALES_INPUT).replace("timestamp-micros", "timestamp-millis")
        registry.register("sales-input-value", older)
        with pytest.raises(IncompatibleSchemaError, match="logical type is timestamp-millis"):
            apply(lone_broker)
        assert SALES_INPUT not in admin(lone_broker).list_topics(timeout=10).topics


def test_servers_that_do_not_answer_are_named(offline_settings: Settings, broker: str) -> None:
    no_registry = offline_settings.model_copy(update={"broker": broker})
    with pytest.raises(MissingPartError, match="HEADRACE_REGISTRY_URL"):
        apply(no_registry)
    with pytest.raises(MissingPartError, match="HEADRACE_REGISTRY_URL"):
        check(no_registry)
