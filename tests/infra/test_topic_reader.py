"""The reader of whole topics against a real broker."""

import pytest

from infra.errors import MissingPartError, UnavailableError
from infra.kafka import producer
from infra.settings import Settings, load_settings
from infra.topic_reader import TopicReader
from tests.running import new_topic


@pytest.fixture
def settings(broker: str) -> Settings:
    return load_settings(broker=broker)


@pytest.fixture
def topic(settings: Settings) -> str:
    return new_topic(settings, 2)


def values(batches: object) -> list[bytes]:
    return [message.value() for batch in batches for message in batch]  # type: ignore[attr-defined]


def test_it_returns_what_was_committed_and_nothing_that_was_aborted(settings: Settings, topic: str) -> None:
    writer = producer(settings, transactional_id=f"w-{topic}")
    writer.init_transactions()
    for text, commit in ((b"a", True), (b"b", False), (b"c", True)):
        writer.begin_transaction()
        writer.produce(topic, text, partition=0)
        writer.flush()
        if commit:
            writer.commit_transaction()
        else:
            writer.abort_transaction()
    reader = TopicReader(settings, [topic], "test")
    try:
        assert values(reader.read_to_end(20)) == [b"a", b"c"]
        writer.begin_transaction()
        writer.produce(topic, b"d", partition=1)
        writer.commit_transaction()
        assert values(reader.read_to_end(20)) == [b"d"]
        assert reader.positions[topic, 0] >= 3
        assert list(reader.read_to_end(20)) == []
    finally:
        reader.close()


def test_an_open_transaction_holds_the_end_back(settings: Settings, topic: str) -> None:
    writer = producer(settings, transactional_id=f"w-{topic}")
    writer.init_transactions()
    writer.begin_transaction()
    writer.produce(topic, b"x", partition=0)
    writer.flush()
    reader = TopicReader(settings, [topic], "test")
    try:
        with pytest.raises(UnavailableError, match=topic):
            list(reader.read_to_end(1.5))
        writer.commit_transaction()
        assert values(reader.read_to_end(20)) == [b"x"]
    finally:
        reader.close()


def test_a_missing_topic_is_named(settings: Settings) -> None:
    with pytest.raises(MissingPartError, match="no-such-topic"):
        TopicReader(settings, ["no-such-topic"], "test")


def test_a_missing_broker_is_named(offline_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MissingPartError, match="no Kafka broker answers"):
        TopicReader(offline_settings, ["any"], "test")
