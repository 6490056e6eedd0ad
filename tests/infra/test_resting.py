"""A consumer that rests, against the embedded broker, which answers a fetch of nothing at once."""

import time
import uuid

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.kafka import admin, consumer, producer
from infra.resting import Place, Resting
from infra.settings import Settings, load_settings

REST_S_MAX = 0.2


@pytest.fixture
def settings(broker: str) -> Settings:
    return load_settings(broker=broker)


@pytest.fixture
def places(settings: Settings) -> list[Place]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    client = admin(settings)
    client.create_topics([NewTopic(name, 2, 1)])[name].result()
    return [(name, 0), (name, 1)]


def write(settings: Settings, place: Place, *values: bytes) -> None:
    writer = producer(settings)
    for value in values:
        writer.produce(place[0], value, partition=place[1])
    writer.flush()


def taken(resting: Resting, seconds: float, *, until: int | None = None) -> list[bytes | None]:
    """Values that come within the time, or until so many have come."""
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (until is None or len(found) < until):
        found += [message for message in resting.consume(1000, 0.05) if message.error() is None]
    return [message.value() for message in found]


def test_it_costs_next_to_nothing_at_the_end_and_wakes_for_what_comes(
    settings: Settings, places: list[Place]
) -> None:
    spent = {}
    for rest_s_max in (0.0, REST_S_MAX):
        client = consumer(settings, "resting-test", enable_partition_eof=True)
        try:
            client.assign([TopicPartition(*place, 0) for place in places])
            resting = Resting(client, rest_s_max)
            resting.added(places)
            assert taken(resting, 1.0) == []
            before = time.process_time()
            assert taken(resting, 2.0) == []
            spent[rest_s_max] = time.process_time() - before
            if rest_s_max:
                for number in range(4):
                    write(settings, places[number % 2], b"%d" % number)
                    assert taken(resting, 20, until=1) == [b"%d" % number]
        finally:
            client.close()
    assert spent[REST_S_MAX] < 0.5 * spent[0.0]


def test_what_its_owner_paused_stays_paused(settings: Settings, places: list[Place]) -> None:
    client = consumer(settings, "resting-test", enable_partition_eof=True)
    try:
        client.assign([TopicPartition(*place, 0) for place in places])
        resting = Resting(client, REST_S_MAX)
        resting.added(places)
        assert taken(resting, 1.0) == []
        resting.pause(places[:1])
        write(settings, places[0], b"held")
        write(settings, places[1], b"flows")
        assert taken(resting, 2.0) == [b"flows"]
        resting.resume(places[:1])
        assert taken(resting, 20, until=1) == [b"held"]
    finally:
        client.close()
