"""What Headrace relies on in a broker, whichever it is: each promise here holds on the embedded one and on Kafka."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from infra.kafka import MESSAGE_BYTES_MAX, broker_answers, consumer, producer
from infra.settings import Settings, load_settings
from tests.running import WAIT_S_MAX, Server, broker_program, free_port, new_topic, running_server, wait_until

ANSWER_S = 60.0


@pytest.fixture
def settings(broker: str) -> Settings:
    return load_settings(broker=broker)


@contextmanager
def own_broker(folder: Path) -> Iterator[tuple[Server, Settings]]:
    """A broker of one test, which may be stopped and killed."""
    program = broker_program(folder, free_port())
    settings = load_settings(broker=program.url)
    with running_server(program, lambda: broker_answers(settings)) as server:
        yield server, settings


def writer(settings: Settings, name: str) -> Producer:
    """A producer whose transactions can begin; it has fenced those before it."""
    client = producer(settings, transactional_id=name)
    client.init_transactions(ANSWER_S)
    return client


def transaction(settings: Settings, topic: str, name: str, *values: bytes, commit: bool = True) -> None:
    client = writer(settings, name)
    client.begin_transaction()
    for value in values:
        client.produce(topic, value, partition=0)
    client.flush()
    if commit:
        client.commit_transaction(ANSWER_S)
    else:
        client.abort_transaction(ANSWER_S)


@contextmanager
def reading(settings: Settings, topic: str, offset: int = 0) -> Iterator[Consumer]:
    client = consumer(settings, "contract", enable_partition_eof=True)
    try:
        client.assign([TopicPartition(topic, 0, offset)])
        yield client
    finally:
        client.close()


def values_from(settings: Settings, topic: str, offset: int = 0) -> list[bytes | None]:
    """Values of partition 0, from an offset to the end of what is committed."""
    found: list[bytes | None] = []
    with reading(settings, topic, offset) as client:
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline:
            message = client.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
    raise AssertionError("the end did not come")


def test_messages_of_a_partition_keep_their_order(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    expected = [b"%d" % number for number in range(20_000)]
    client = producer(settings, linger_ms=1, batch_num_messages=100)
    for value in expected:
        client.produce(topic, value, partition=0)
    assert client.flush(ANSWER_S) == 0
    assert values_from(settings, topic) == expected


def test_what_is_sent_again_after_a_silence_is_there_once(tmp_path: Path) -> None:
    with own_broker(tmp_path) as (server, settings):
        topic = new_topic(settings, 1)
        client = producer(settings, linger_ms=0, socket_timeout_ms=1_500)
        client.produce(topic, b"0", partition=0)
        assert client.flush(ANSWER_S) == 0
        group = os.getpgid(server.process.pid)
        os.killpg(group, signal.SIGSTOP)
        try:
            for number in range(1, 50):
                client.produce(topic, b"%d" % number, partition=0)
            # The client gives the connection up, and sends all of it on another one; the broker will read both.
            client.flush(4)
        finally:
            os.killpg(group, signal.SIGCONT)
        assert client.flush(ANSWER_S) == 0
        assert values_from(settings, topic) == [b"%d" % number for number in range(50)]


def test_a_transaction_is_seen_in_all_its_topics_or_in_none(settings: Settings) -> None:
    topics = [new_topic(settings, 1) for _ in range(2)]
    client = writer(settings, f"w-{topics[0]}")
    for value, commit in ((b"a", False), (b"b", True), (b"c", False)):
        client.begin_transaction()
        for topic in topics:
            client.produce(topic, value, partition=0)
        client.flush()
        if commit:
            client.commit_transaction(ANSWER_S)
        else:
            client.abort_transaction(ANSWER_S)
    assert [values_from(settings, topic) for topic in topics] == [[b"b"], [b"b"]]


def test_an_open_transaction_holds_back_what_was_committed_behind_it(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    first, second = writer(settings, f"1-{topic}"), writer(settings, f"2-{topic}")
    first.begin_transaction()
    first.produce(topic, b"open", partition=0)
    first.flush()
    second.begin_transaction()
    second.produce(topic, b"behind", partition=0)
    second.commit_transaction(ANSWER_S)
    assert values_from(settings, topic) == []
    first.commit_transaction(ANSWER_S)
    assert values_from(settings, topic) == [b"open", b"behind"]


def test_what_is_committed_after_an_abort_is_read_from_every_offset(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    transaction(settings, topic, f"w-{topic}", b"a", b"b", commit=False)
    transaction(settings, topic, f"w-{topic}", b"c", b"d")
    transaction(settings, topic, f"w-{topic}", b"e")
    # Offsets 0 and 1 were aborted, 2 is the marker of it; 3 and 4 are c and d, 5 is their marker.
    for offset, expected in ((0, 3), (2, 3), (3, 3), (4, 2), (5, 1), (6, 1)):
        assert values_from(settings, topic, offset) == [b"c", b"d", b"e"][-expected:]


def test_nothing_of_an_aborted_transaction_is_read_however_large_it_is(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    expected = []
    for turn in range(4):
        many = [b"%d-%d-" % (turn, row) + b"x" * 2000 for row in range(3000)]
        commit = turn % 2 == 1
        transaction(settings, topic, f"w-{topic}", *many, commit=commit)
        expected += many if commit else []
    found = values_from(settings, topic)
    assert len(found) == len(expected)
    assert found == expected
    for offset in (2500, 3000, 3001, 4500, 6002, 7000, 9003):
        assert values_from(settings, topic, offset) == [
            value for value in expected if value is not None and _offset(value) >= offset
        ]


def _offset(value: bytes) -> int:
    """Where a value of the test above lies: each of its transactions has 3000 messages and a marker."""
    turn, row, _ = value.split(b"-", 2)
    return int(turn) * 3001 + int(row)


def test_a_writer_that_was_replaced_can_commit_nothing_more(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    zombie = writer(settings, f"w-{topic}")
    zombie.begin_transaction()
    zombie.produce(topic, b"zombie", partition=0)
    zombie.flush()
    heir = writer(settings, f"w-{topic}")
    heir.begin_transaction()
    heir.produce(topic, b"heir", partition=0)
    heir.commit_transaction(ANSWER_S)
    with pytest.raises(KafkaException) as raised:
        zombie.commit_transaction(ANSWER_S)
    assert raised.value.args[0].code() in {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
    assert values_from(settings, topic) == [b"heir"]


def test_offsets_are_committed_with_their_transaction_and_only_then(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    client, group = writer(settings, f"w-{topic}"), consumer(settings, f"g-{topic}")
    try:
        group.subscribe([topic])
        wait_until(lambda: group.poll(0.1) is None and bool(group.assignment()), "the assignment")
        for offset, commit, expected in ((5, False, -1001), (7, True, 7), (9, False, 7)):
            client.begin_transaction()
            client.produce(topic, b"x", partition=0)
            client.send_offsets_to_transaction(
                [TopicPartition(topic, 0, offset)], group.consumer_group_metadata(), ANSWER_S
            )
            if commit:
                client.commit_transaction(ANSWER_S)
            else:
                client.abort_transaction(ANSWER_S)
            (found,) = group.committed([TopicPartition(topic, 0)], timeout=ANSWER_S)
            assert found.offset == expected
    finally:
        group.close()


def test_the_first_message_of_a_time_is_found(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    client = producer(settings)
    for second in range(10):
        client.produce(topic, b"x", partition=0, timestamp=1_700_000_000_000 + second * 1000)
    assert client.flush(ANSWER_S) == 0
    asker = consumer(settings, "contract")
    try:
        for milliseconds, expected in ((-5000, 0), (3000, 3), (3001, 4), (20_000, -1)):
            asked = [TopicPartition(topic, 0, 1_700_000_000_000 + milliseconds)]
            (found,) = asker.offsets_for_times(asked, timeout=ANSWER_S)
            assert found.offset == expected
    finally:
        asker.close()


def test_partitions_are_shared_and_given_on_without_taking_all_away(settings: Settings) -> None:
    topic = new_topic(settings, 4)
    members: list[Consumer] = []
    taken_away: list[int] = []

    def join() -> None:
        member = consumer(
            settings,
            f"g-{topic}",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=15_000,
        )
        member.subscribe([topic], on_revoke=lambda _, places: taken_away.append(len(places)))
        members.append(member)

    def shares(*expected: int) -> bool:
        for member in members:
            member.poll(0.05)
        return sorted(len(member.assignment()) for member in members) == sorted(expected)

    try:
        join()
        wait_until(lambda: shares(4), "all four with the first")
        join()
        wait_until(lambda: shares(2, 2), "two with each")
        assert taken_away == [2]
        members.pop().close()
        wait_until(lambda: shares(4), "all four with the one that is left")
    finally:
        for member in members:
            member.close()


def test_a_message_of_the_largest_size_is_kept_whole(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    value = os.urandom(MESSAGE_BYTES_MAX)
    transaction(settings, topic, f"w-{topic}", b"before", value, b"after")
    assert values_from(settings, topic) == [b"before", value, b"after"]


def test_a_fetch_of_nothing_is_kept_and_ends_when_something_is_written(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    with reading(settings, topic) as client:
        assert client.poll(20) is not None  # The end of the partition.
        before = time.process_time()
        assert client.poll(2.0) is None
        assert time.process_time() - before < 0.2
        transaction(settings, topic, f"w-{topic}", b"a")
        message = client.poll(20)
        assert message is not None
        assert message.value() == b"a"


def test_messages_offsets_and_transactions_are_kept_over_a_stop_and_a_kill(tmp_path: Path) -> None:
    with own_broker(tmp_path) as (server, settings):
        topic = new_topic(settings, 1)
        transaction(settings, topic, "w", b"a", commit=False)
        transaction(settings, topic, "w", b"b")
        asker = consumer(settings, "kept")
        asker.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
        asker.close()
        server.stop()
        for end in (server.kill, server.stop):
            server.start()
            wait_until(lambda: broker_answers(settings), "the broker")
            assert values_from(settings, topic) == [b"b"]
            asker = consumer(settings, "kept")
            (found,) = asker.committed([TopicPartition(topic, 0)], timeout=ANSWER_S)
            asker.close()
            assert found.offset == 2
            end()
        server.start()


def test_a_large_backlog_is_read_in_answers_of_bounded_size(settings: Settings) -> None:
    topics = [new_topic(settings, 2) for _ in range(2)]
    client = producer(settings, batch_size=50_000)
    for _ in range(100):
        for topic in topics:
            for partition in range(2):
                client.produce(topic, os.urandom(20_000), partition=partition)
    client.flush()
    reader = consumer(
        settings,
        "contract",
        message_max_bytes=100_000,
        fetch_max_bytes=300_000,
        fetch_message_max_bytes=200_000,
        receive_message_max_bytes=320_000,
    )
    try:
        reader.assign([TopicPartition(topic, number) for topic in topics for number in range(2)])
        seen = 0
        deadline = time.monotonic() + WAIT_S_MAX
        while seen < 400 and time.monotonic() < deadline:
            for message in reader.consume(400, 0.1):
                assert message.error() is None, message.error()
                seen += 1
    finally:
        reader.close()
    assert seen == 400
