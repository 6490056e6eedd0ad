"""Kafka transactions: messages, and the offsets they were made from, become visible together or not at all.

Guarantee: after a failure, or a commit whose outcome is unknown, nothing more is written with the same producer;
whoever holds it stops, and the process that starts in its place fences what is left behind. The outcome of such a
transaction is read from the topics, never guessed. The one failure that a process outlives is that its group
divided the partitions anew before the offsets were added: then nothing was committed, for certain.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra import telemetry
from infra.errors import (
    CommitUnknownError,
    FaultError,
    FencedError,
    HeadraceError,
    MissingPartError,
    NotCommittedError,
    RegroupedError,
    UnavailableError,
)
from infra.kafka import producer
from infra.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_S_MAX = 30.0
"""Longest wait for an answer to a step of a transaction, seconds; below the transaction's own time-out."""

OVERDUE_S_MAX = 5.0
"""So much later than it was told the client library may come back, seconds, before it is not waited for any more."""

Note = Callable[[KafkaError | None, Message], None]
"""Hears what became of a message, from within a later `poll`."""


class Transactions:
    """Writes messages in transactions under one transactional id.

    Args:
        settings: Where the brokers are.
        transactional_id: Name of this writer; starting a second one fences the first.
        job: Name of the job in the metrics.
        noting: Whether notes are given to messages; every message then costs more.

    Raises:
        FaultError: The brokers refuse this writer.
        UnavailableError: The brokers did not answer.
    """

    def __init__(self, settings: Settings, transactional_id: str, job: str, *, noting: bool = False) -> None:
        self._id = transactional_id
        self._job = job
        self._producer = producer(settings, transactional_id, delivery_report_only_error=not noting)
        self._open = self._failed = False
        try:
            self._producer.init_transactions(ANSWER_S_MAX)
        except KafkaException as error:
            raise wrapped(
                error.args[0], f"starting transactions as {transactional_id}", UnavailableError
            ) from error

    def write(
        self, topic: str, partition: int, values: Sequence[bytes | None], keys: Sequence[bytes | str | None]
    ) -> None:
        """Hand messages over, in order, to the open transaction; the first ones open it.

        Args:
            topic: Topic written to.
            partition: Partition written to, whatever the keys are.
            values: Values; shape `(n_rows,)`.
            keys: Keys; shape `(n_rows,)`.

        Raises:
            FaultError: A message is too large, the brokers refuse the writer, or it has failed before.
            FencedError: Another process has this writer's name.
            NotCommittedError: The transaction has failed already.
            UnavailableError: The producer's queue stayed full.
        """
        self._begin()
        # One call a message is cheaper than `produce_batch`, which wants a dictionary of each.
        produce = self._producer.produce
        for value, key in zip(values, keys, strict=True):
            try:
                produce(topic, value, key, partition)
            except (BufferError, KafkaException):
                self._put(topic, partition, value, key)
        telemetry.records_out.labels(self._job, topic).inc(len(values))

    def _begin(self) -> None:
        if self._failed:
            raise FaultError(
                f"{self._id}: expected nothing more after a transaction that failed; the job must end"
            )
        if not self._open:
            try:
                self._producer.begin_transaction()
            except KafkaException as error:
                raise self._broken(error.args[0], "beginning a transaction") from error
            self._open = True

    def _put(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | str | None,
        note: Note | None = None,
    ) -> None:
        """Hand one message over, waiting for room in the producer's queue; `note` hears what became of it.

        Raises:
            HeadraceError: As `write`.
        """
        deadline = time.monotonic() + ANSWER_S_MAX
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=note)
            except BufferError:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{topic}: the producer's queue was full for {ANSWER_S_MAX:g} s"
                    ) from None
                self._serve()
            except KafkaException as error:
                doing = f"a message of {len(value or b'')} bytes cannot be written to {topic}"
                raise self._broken(error.args[0], doing) from error
            else:
                return

    def _serve(self) -> None:
        """Let the client tell what became of messages, for a moment at most."""
        try:
            self._producer.poll(0.05)
        except KafkaException as error:
            # The producer is broken for good, most often because it was fenced.
            raise self._broken(error.args[0], "writing") from error

    def _broken(self, error: KafkaError, doing: str) -> HeadraceError:
        """What it means that the open transaction failed; the producer is not used again."""
        self._failed = True
        return wrapped(self._cause(error), f"{self._id}: {doing}", NotCommittedError)

    def _cause(self, error: KafkaError) -> KafkaError:
        """What broke the transaction, when a step of it is told only that it is broken."""
        if error.code() in (KafkaError._FATAL, KafkaError._STATE):  # noqa: SLF001
            try:
                # It cannot be begun while it is open; the client answers with the error that it is in.
                self._producer.begin_transaction()
            except KafkaException as cause:
                found = cause.args[0]
                assert isinstance(found, KafkaError)
                return found
        return error

    def commit(
        self, offsets: Mapping[tuple[str, int], int] | None = None, group: Consumer | None = None
    ) -> None:
        """Commit what was written, together with the offsets it was made from.

        Args:
            offsets: Next offset to be read of each (topic, partition).
            group: The consumer that read them; must be given with `offsets`.

        Raises:
            FaultError: The brokers refuse what was written, or the writer; nothing of it was committed.
            FencedError: Another process has this writer's name.
            NotCommittedError: The transaction cannot be committed.
            RegroupedError: The group began a new generation meanwhile; the transaction was aborted.
            CommitUnknownError: Nobody knows; the next process finds out.
        """
        if not (self._open or offsets or self._failed):
            return
        self._begin()
        if offsets and group is not None:
            self._send(offsets, group)
        try:
            self._producer.commit_transaction(ANSWER_S_MAX)
        except KafkaException as error:
            self._failed = True
            cause = error.args[0]
            known = cause.txn_requires_abort() and cause.code() not in _OUTCOME_UNKNOWN
            kind = NotCommittedError if known else CommitUnknownError
            raise wrapped(cause, f"{self._id}: committing", kind) from error
        self._open = False
        telemetry.transactions.labels(self._job).inc()

    def _send(self, offsets: Mapping[tuple[str, int], int], group: Consumer) -> None:
        places = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        member = group.consumer_group_metadata()
        try:
            # So that there is nothing to purge should the group have moved on; see `abort`.
            self._producer.flush(ANSWER_S_MAX)
            came_back = _came_back(
                lambda: self._producer.send_offsets_to_transaction(places, member, ANSWER_S_MAX),
                ANSWER_S_MAX + OVERDUE_S_MAX,
            )
        except KafkaException as error:
            if error.args[0].code() not in _REGROUPED:
                raise self._broken(error.args[0], "adding offsets") from error
            self.abort()
            raise RegroupedError(f"{self._id}: adding offsets: {error.args[0].str()}") from error
        if not came_back:
            # A call is under way for ever, so the transaction is left to whoever starts in this writer's place.
            self._failed, self._open = True, False
            raise NotCommittedError(
                f"{self._id}: adding offsets: the group's coordinator was not found within {ANSWER_S_MAX:g} s"
            )

    def abort(self) -> None:
        """Take back what was written since the last commit; the next transaction may begin then.

        Raises:
            HeadraceError: The producer is broken, or nobody knows whether the brokers heard of it.
        """
        if not self._open:
            return
        try:
            # Those that never left would be purged, and the brokers miss their numbers in the next transaction.
            self._producer.flush(ANSWER_S_MAX)
            self._producer.abort_transaction(ANSWER_S_MAX)
        except KafkaException as error:
            raise self._broken(error.args[0], "aborting") from error
        self._open = False

    def close(self) -> None:
        """Leave no transaction open behind: readers of committed messages would wait for it to time out."""
        if self._open:
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(ANSWER_S_MAX)
            self._open = False


def _came_back(call: Callable[[], object], wait_s: float) -> bool:
    """Call something in a thread of its own, and say whether it came back in time; raises what it raises.

    Needed because librdkafka (2.16 still) looks for a group's coordinator without end, whatever time it is given,
    most often after a connection was cut.
    """
    raised: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  It is raised from the caller's thread.
            raised.append(error)

    thread = threading.Thread(target=body, name="client-call", daemon=True)
    thread.start()
    thread.join(wait_s)
    if raised:
        raise raised[0]
    return not thread.is_alive()


_REGROUPED = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS}
)

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

_OUTCOME_UNKNOWN = frozenset({KafkaError.UNKNOWN, KafkaError.REQUEST_TIMED_OUT, KafkaError.NETWORK_EXCEPTION})
"""Answers after which the client would abort, although the coordinator may have begun to commit."""
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


def wrapped(error: KafkaError, doing: str, kind: type[UnavailableError]) -> HeadraceError:
    """What an error of the client library means for a transaction.

    Args:
        error: The error.
        doing: What failed.
        kind: What it is if the brokers are only briefly bad.
    """
    told = f"{doing}: {error.str()}"
    if error.code() in _FENCED:
        return FencedError(f"{doing}: another process has taken over: {error.str()}")
    if error.code() in _TOO_LARGE:
        return FaultError(
            f"{told}. Nothing past it is committed. Raise HEADRACE_KAFKA__MESSAGE_MAX_BYTES and the topic's "
            "max.message.bytes."
        )
    if error.code() in _REFUSED:
        return FaultError(
            f"{told}. Nothing of it is committed. Allow this user to write to the topics, to read with its group "
            "and to write under this transactional id."
        )
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        return FaultError(
            f"{told}. Nothing of it is committed. Expected this machine's clock to agree with the brokers'; set it."
        )
    if error.code() in _NO_TOPIC:
        return MissingPartError(
            f"{told}. Nothing of it is committed; `headrace topics apply` makes the topic."
        )
    return kind(told)
