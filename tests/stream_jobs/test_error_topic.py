"""A topic of refusals that cannot be written: the job stops, and nothing is committed past a lost refusal."""

from collections import Counter

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from infra.errors import FaultError, MissingPartError, NotCommittedError
from infra.kafka import admin
from infra.settings import Settings
from schemas import catalogue
from stream_jobs.validate import run_validate
from tests import running
from tests.running import running_job, wait_until
from tests.stream_jobs.world import World

COUNT = 10
BAD = 8


def deliver_bad_ones(world: World) -> int:
    """Master data, and ten sales of which eight are refused; the delivery's id."""
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    quantities = [-1.0] * BAD + [2.0] * (COUNT - BAD)
    return world.deliver_sales(COUNT, partitions=[0], quantity=quantities)


def assert_all_judged_once(world: World, delivery_id: int) -> None:
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (COUNT - BAD, BAD), "all verdicts")
    refused = Counter((error["delivery_id"], error["position"]) for error in world.records("sales-error"))
    assert refused == {(delivery_id, position): 1 for position in range(1, BAD + 1)}
    assert len(world.messages("sales-validated")) == COUNT - BAD


def impatient(settings: Settings, **kafka: str) -> Settings:
    """Settings whose clients soon believe that a topic is gone."""
    return settings.model_copy(update={"kafka": {"topic.metadata.propagation.max.ms": "1000", **kafka}})


@pytest.fixture
def kafka_world(lone_world: World) -> World:
    """An installation on Apache Kafka: the embedded broker makes topics anew and bounds no sizes."""
    if not running.ON_KAFKA:
        pytest.skip("needs Apache Kafka: --on-kafka")
    return lone_world


def test_a_topic_of_refusals_that_is_gone_stops_the_job(kafka_world: World) -> None:
    world = kafka_world
    delivery_id = deliver_bad_ones(world)
    client = admin(world.settings)
    client.delete_topics(["sales-error"])["sales-error"].result()
    with pytest.raises((MissingPartError, NotCommittedError)):
        with running_job(lambda stop: run_validate(impatient(world.settings), world.store, stop)) as thread:
            thread.join(50)
    assert world.judged() == (0, 0)
    assert world.messages("sales-validated") == []
    catalogue.apply(world.settings)
    assert_all_judged_once(world, delivery_id)


def test_a_topic_that_takes_no_refusal_of_that_size_stops_the_job(kafka_world: World) -> None:
    world = kafka_world
    delivery_id = deliver_bad_ones(world)
    bound_messages(world.settings, AlterConfigOpType.SET)
    with pytest.raises(FaultError, match=r"max\.message\.bytes"):
        with running_job(lambda stop: run_validate(world.settings, world.store, stop)) as thread:
            thread.join(50)
    assert world.judged() == (0, 0)
    assert world.messages("sales-validated") == []
    bound_messages(world.settings, AlterConfigOpType.DELETE)
    assert_all_judged_once(world, delivery_id)


def test_bad_records_behind_a_full_queue_are_all_refused(world: World) -> None:
    delivery_id = deliver_bad_ones(world)
    narrow = world.settings.model_copy(update={"kafka": {"queue.buffering.max.messages": "2"}})
    with running_job(lambda stop: run_validate(narrow, world.store, stop)):
        wait_until(lambda: world.judged() == (COUNT - BAD, BAD), "all verdicts")
    assert_all_judged_once(world, delivery_id)


def bound_messages(settings: Settings, operation: AlterConfigOpType) -> None:
    """Set or take away a bound that no refusal keeps."""
    entry = ConfigEntry("max.message.bytes", "100", incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, "sales-error", incremental_configs=[entry])
    client = admin(settings)
    client.incremental_alter_configs([resource])[resource].result()
