"""What Headrace relies on in a broker, seen to hold for the embedded one."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from infra.broker_front import fetched_partitions
from infra.embedded_broker import broker_command
from infra.errors import MissingPartError
from infra.kafka import check_broker, consumer, producer
from infra.settings import Settings, load_settings
from tests.running import Program, Server, free_port, new_topic


@pytest.fixture
def settings(broker: str) -> Settings:
    return load_settings(broker=broker)


def transaction(settings: Settings, topic: str, name: str, *values: bytes, commit: bool = True) -> None:
    writer = producer(settings, transactional_id=name)
    writer.init_transactions()
    writer.begin_transaction()
    for value in values:
        writer.produce(topic, value, partition=0)
    writer.flush()
    if commit:
        writer.commit_transaction()
    else:
        writer.abort_transaction()


@contextmanager
def reading(settings: Settings, topic: str, offset: int) -> Iterator[Consumer]:
    client = consumer(settings, "broker-test", enable_partition_eof=True)
    try:
        client.assign([TopicPartition(topic, 0, offset)])
        yield client
    finally:
        client.close()


def values_from(settings: Settings, topic: str, offset: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    with reading(settings, topic, offset) as client:
        deadline = time.monotonic() + 20
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
    found = values_from(settings, topic, 0)
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


def test_a_fetch_of_nothing_is_kept_and_ends_when_something_is_written(settings: Settings) -> None:
    topic = new_topic(settings, 1)
    with reading(settings, topic, 0) as client:
        assert client.poll(20) is not None  # The end of the partition.
        before = time.process_time()
        assert client.poll(2.0) is None
        assert time.process_time() - before < 0.2
        transaction(settings, topic, f"w-{topic}", b"a")
        message = client.poll(20)
        assert message is not None
        assert message.value() == b"a"


def test_messages_offsets_and_transactions_are_kept_over_a_stop_and_an_orphan_is_ended(
    tmp_path: Path,
) -> None:
    port = free_port()
    settings = load_settings(broker=f"127.0.0.1:{port}")
    program = Program(broker_command(port, tmp_path / "data"), settings.broker, tmp_path / "log")
    topic = None
    for ended_with in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        server = Server(program)
        try:
            check_broker(settings, 30)
            if topic is None:
                topic = new_topic(settings, 1)
                transaction(settings, topic, "w", b"a", commit=False)
                transaction(settings, topic, "w", b"b")
            assert values_from(settings, topic, 0) == [b"b"]
        finally:
            server.process.send_signal(ended_with)
            code = server.process.wait(30)
    assert code == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_taken_port_is_said(broker: str, tmp_path: Path) -> None:
    port = broker.rpartition(":")[2]
    program = Program(broker_command(int(port), tmp_path / "data"), broker, tmp_path / "log")
    assert Server(program).process.wait(30) != 0
    assert f"port {port} is taken; set HEADRACE_PORTS__BROKER" in (tmp_path / "log").read_text()
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="12"):
        fetched_partitions(b"", 12)


def test_no_broker_is_said(offline_settings: Settings) -> None:
    with pytest.raises(MissingPartError, match="headrace up"):
        check_broker(offline_settings, 0.5)
