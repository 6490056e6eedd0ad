"""What a transaction's failure is called, and that its writer is done then: against librdkafka's mock cluster."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.errors import (
    CommitUnknownError,
    FaultError,
    FencedError,
    HeadraceError,
    NotCommittedError,
    RegroupedError,
)
from infra.kafka import consumer
from infra.settings import load_settings
from infra.topic_reader import TopicReader
from stream_jobs.transactions import Transactions
from tests.mock_cluster import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    MockCluster,
    mock_cluster,
)
from tests.running import new_topic

TOPIC = "out"


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    """A cluster of a test's own, with one topic."""
    with mock_cluster() as cluster:
        cluster.new_topic(TOPIC)
        yield cluster


def writer(cluster: MockCluster) -> Transactions:
    return Transactions(load_settings(broker=cluster.servers), "writer-0", "test")


def write(transactions: Transactions, value: bytes = b"sale") -> None:
    transactions.write(TOPIC, 0, [value], [b"key"])


def assert_done(transactions: Transactions) -> None:
    """Nothing more is written with a writer whose transaction failed."""
    with pytest.raises(FaultError, match="the job must end"):
        write(transactions)
    with pytest.raises(FaultError, match="the job must end"):
        transactions.commit()
    transactions.close()


@pytest.mark.parametrize(
    "error",
    [
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
    ],
)
def test_a_coordinator_that_is_briefly_bad_is_asked_again(cluster: MockCluster, error: int) -> None:
    transactions = writer(cluster)
    for value in (b"first", b"second"):
        write(transactions, value)
        cluster.answer(END_TXN, error, error)
        transactions.commit()
    transactions.close()


@pytest.mark.parametrize(
    ("request_kind", "error", "kind", "words"),
    [
        (END_TXN, KafkaError.PRODUCER_FENCED, FencedError, "another process has taken over"),
        (END_TXN, KafkaError.INVALID_PRODUCER_EPOCH, FencedError, "another process has taken over"),
        (PRODUCE, KafkaError.INVALID_PRODUCER_EPOCH, FencedError, "another process has taken over"),
        (END_TXN, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, FaultError, "Allow this user"),
        (ADD_PARTITIONS, KafkaError.TOPIC_AUTHORIZATION_FAILED, FaultError, "Allow this user"),
        (PRODUCE, KafkaError.TOPIC_AUTHORIZATION_FAILED, FaultError, "Allow this user"),
        (PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, FaultError, "max.message.bytes"),
        (PRODUCE, KafkaError.INVALID_TIMESTAMP, FaultError, "clock"),
        (END_TXN, KafkaError.INVALID_TXN_STATE, CommitUnknownError, "committing"),
        (END_TXN, KafkaError.INVALID_PRODUCER_ID_MAPPING, NotCommittedError, "committing"),
        (END_TXN, KafkaError.UNKNOWN, CommitUnknownError, "committing"),
        (END_TXN, KafkaError.REQUEST_TIMED_OUT, CommitUnknownError, "committing"),
    ],
)
def test_a_commit_that_fails_says_how_and_ends_the_writer(
    cluster: MockCluster, request_kind: int, error: int, kind: type[HeadraceError], words: str
) -> None:
    transactions = writer(cluster)
    write(transactions)
    cluster.answer(request_kind, error)
    with pytest.raises(kind, match=words) as caught:
        transactions.commit()
    assert type(caught.value) is kind
    assert_done(transactions)


@pytest.mark.parametrize("late", ["overdue", "loading"])
def test_a_commit_that_is_not_answered_in_time_is_unknown(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    transactions = writer(cluster)
    write(transactions)
    transactions._producer.flush(10)
    monkeypatch.setattr("stream_jobs.transactions.ANSWER_S_MAX", 1.0)
    if late == "overdue":
        cluster.delay(5_000)
    else:
        cluster.answer(END_TXN, *[KafkaError.COORDINATOR_LOAD_IN_PROGRESS] * 100)
    with pytest.raises(CommitUnknownError, match="committing"):
        transactions.commit()
    assert_done(transactions)


def test_a_writer_without_leave_is_told_so_at_its_start(cluster: MockCluster) -> None:
    cluster.answer(INIT_PRODUCER_ID, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    with pytest.raises(FaultError, match=r"writer-0.*Allow this user"):
        writer(cluster)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaError.INVALID_PRODUCER_EPOCH, FencedError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, FaultError),
        (KafkaError.INVALID_RECORD, NotCommittedError),
    ],
)
def test_a_writer_that_broke_meanwhile_says_why_at_the_next_write(
    cluster: MockCluster, error: int, kind: type[HeadraceError]
) -> None:
    transactions = writer(cluster)
    cluster.answer(PRODUCE, error)
    write(transactions)
    with suppress(KafkaException):
        transactions._producer.flush(10)
    with pytest.raises(kind) as caught:
        write(transactions)
    assert type(caught.value) is kind
    assert_done(transactions)


def test_offsets_added_to_a_broken_transaction_say_what_broke_it(cluster: MockCluster) -> None:
    transactions, group = writer(cluster), consumer(load_settings(broker=cluster.servers), "group")
    cluster.answer(PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    write(transactions)
    transactions._producer.flush(10)
    with pytest.raises(FaultError, match=r"max\.message\.bytes"):
        transactions.commit({(TOPIC, 0): 1}, group)
    assert_done(transactions)
    group.close()


@pytest.mark.parametrize(
    ("request_kind", "error", "kind"),
    [
        (ADD_OFFSETS, KafkaError.GROUP_AUTHORIZATION_FAILED, FaultError),
        (TXN_OFFSET_COMMIT, KafkaError.INVALID_COMMIT_OFFSET_SIZE, NotCommittedError),
        (TXN_OFFSET_COMMIT, KafkaError.FENCED_INSTANCE_ID, FencedError),
    ],
)
def test_offsets_that_are_refused_end_the_transaction(
    cluster: MockCluster, request_kind: int, error: int, kind: type[HeadraceError]
) -> None:
    transactions, group = writer(cluster), consumer(load_settings(broker=cluster.servers), "group")
    write(transactions)
    cluster.answer(request_kind, error)
    with pytest.raises(kind) as caught:
        transactions.commit({(TOPIC, 0): 1}, group)
    assert type(caught.value) is kind
    assert_done(transactions)
    group.close()


@pytest.mark.parametrize("error", [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID])
def test_offsets_of_a_group_that_has_moved_on_are_not_committed_and_the_next_transaction_is(
    cluster: MockCluster, error: int
) -> None:
    transactions, group = writer(cluster), consumer(load_settings(broker=cluster.servers), "group")
    write(transactions)
    cluster.answer(TXN_OFFSET_COMMIT, error)
    with pytest.raises(RegroupedError, match="adding offsets"):
        transactions.commit({(TOPIC, 0): 1}, group)
    write(transactions)
    transactions.commit({(TOPIC, 0): 1}, group)
    transactions.close()
    group.close()


def test_a_group_whose_coordinator_is_not_found_is_not_waited_for_without_end(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions, group = writer(cluster), consumer(load_settings(broker=cluster.servers), "group")
    write(transactions)
    monkeypatch.setattr("stream_jobs.transactions.ANSWER_S_MAX", 0.5)
    monkeypatch.setattr("stream_jobs.transactions.OVERDUE_S_MAX", 0.5)
    # The client asks again twice a second at most, and does not look at the time that it was given.
    cluster.answer(FIND_COORDINATOR, *[KafkaError.COORDINATOR_NOT_AVAILABLE] * 10)
    with pytest.raises(NotCommittedError, match="coordinator was not found"):
        transactions.commit({(TOPIC, 0): 1}, group)
    assert_done(transactions)
    group.close()


def test_many_messages_are_taken_back_and_others_written_at_once(broker: str) -> None:
    settings = load_settings(broker=broker)
    topic = new_topic(settings, 1)
    transactions = Transactions(settings, f"writer-of-{topic}", "test")
    for number in range(10):
        transactions.write(topic, 0, [b"x" * 500] * 5000, [None] * 5000)
        transactions.abort()
        transactions.write(topic, 0, [b"%d" % number], [None])
        transactions.commit()
    transactions.close()
    reader = TopicReader(settings, [topic], "test")
    try:
        found = [message.value() for batch in reader.read_to_end() for message in batch]
    finally:
        reader.close()
    assert found == [b"%d" % number for number in range(10)]
