"""The loop under the stream jobs: consume thousands of messages at once and hand them over as columns.

A job is a `Handler`. The loop owns the group's consumer: partitions come and go by cooperative rebalancing,
and the handler says where each one starts. Guarantee: a partition's messages are handed over in order and
none twice in a row; nothing is committed by the loop; an offset that the topic no longer has, or does not have
yet, stops the job instead of skipping or repeating what lies between.
"""

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra import telemetry
from infra.errors import FaultError, FencedError, MissingPartError, RegroupedError, UnavailableError
from infra.kafka import consumer
from infra.settings import Settings
from stream_jobs.batches import Batch, Place

logger = logging.getLogger(__name__)

HEARTBEATS = 6
"""Signs of life in a session. With one of them a worker also hears that partitions are divided anew."""

LEAVE_S_MAX = 5.0
"""Longest wait for the group's coordinator to hear that a worker leaves, seconds."""

STARTS_OVER_MAX = 10
STARTS_OVER_S = 60.0
"""So often in so many seconds a worker starts over when its group divides the partitions anew, then it ends."""

IDLE_S = 0.02
"""Longest wait for a first message; then the handler has its turn, and looks at what it holds."""

LAG_EVERY_S = 5.0

COLLECT_AFTER = 500_000
"""So many more objects are there before Python looks for cycles. It takes every message for a possible part of one;
at its own 700 it would look through the messages of each batch many times, and never find any."""

ANSWER_S_MAX = 30.0
"""Longest wait for an answer of the brokers, seconds."""


class Handler(Protocol):
    """What a job does with its messages. All is called from the thread of the loop; all may block."""

    def assigned(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Partitions have come; say from which offset each is read. Absent: from its beginning."""

    def revoked(self, places: Sequence[Place]) -> None:
        """Partitions are about to go, and are still this process's until this returns."""

    def lost(self, places: Sequence[Place]) -> None:
        """What is in hand of these partitions must be dropped: they are gone, or begin again at `assigned`."""

    def take(self, batch: Batch) -> None:
        """Messages have come."""

    def turn(self, now_s: float) -> None:
        """Once in each turn of the loop, also when nothing came; `now_s` is a monotonic clock."""

    def finish(self) -> None:
        """The job stops in order: bring what is in hand to an end."""


class Stream:
    """A member of a consumer group, and its loop.

    A worker that was killed and comes back under its name is the same member: it has its partitions at once,
    and the others keep theirs. One that ends in order leaves the group, and the others have its partitions.

    Args:
        settings: Where the brokers are, how large batches are, and the name of this worker.
        topics: Topics read.
        group: Consumer group.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], group: str) -> None:
        self._topics = list(topics)
        self._group = group
        self._rows_max = min(settings.stream.batch_rows_max, settings.stream.transaction_rows_max)
        self._wait_s = settings.stream.batch_wait_ms / 1000
        # To start anew at an offset that is out of range would be to repeat or to skip without a word.
        self._consumer: Consumer = consumer(
            settings,
            group,
            auto_offset_reset="error",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=settings.stream.session_ms,
            heartbeat_interval_ms=settings.stream.session_ms // HEARTBEATS,
            group_instance_id=f"{group}-{settings.stream.worker}",
        )
        self._next: dict[Place, int | None] = {}
        self._failure: BaseException | None = None
        self._stopping = False
        self._lag_told_s = 0.0
        self._starts_over: deque[float] = deque(maxlen=STARTS_OVER_MAX)

    @property
    def consumer(self) -> Consumer:
        """The group's consumer, for its metadata and committed offsets."""
        return self._consumer

    @property
    def owned(self) -> frozenset[Place]:
        """The partitions that are this process's now."""
        return frozenset(self._next)

    def run(self, handler: Handler, stop: threading.Event) -> None:
        """Run until `stop` is set, then let the handler finish and leave the group.

        Raises:
            HeadraceError: Whatever stops the job; the process should end and be started again.
        """
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        try:
            self._consumer.subscribe(
                self._topics,
                on_assign=lambda _, partitions: self._assign(handler, partitions),
                on_revoke=lambda _, partitions: self._unassign(handler.revoked, partitions),
                on_lost=lambda _, partitions: self._unassign(handler.lost, partitions),
            )
            telemetry.ready.set(1)
            while not stop.is_set():
                try:
                    self._turn(handler)
                except RegroupedError as error:
                    self._start_over(handler, error)
            self._finish(handler)
        except KafkaException as error:
            raise UnavailableError(f"group {self._group}: {_text(error)}") from error
        finally:
            telemetry.ready.set(0)
            # What the handler has in hand is finished, or must not be touched any more.
            self._stopping = True
            self._consumer.close()

    def _turn(self, handler: Handler) -> None:
        """Hand over what has come, and give the handler its turn."""
        messages = self._received()
        self._raise_failure()
        for batch in self._batches(messages):
            with telemetry.batch_seconds.labels(self._group).time():
                handler.take(batch)
            telemetry.records_in.labels(self._group, batch.topic).inc(len(batch))
        handler.turn(time.monotonic())
        self._tell_lag(time.monotonic())

    def _start_over(self, handler: Handler, reason: RegroupedError) -> None:
        """Go on where the group's work stands, as if the partitions had just come.

        Raises:
            RegroupedError: It happens again and again.
        """
        now_s = time.monotonic()
        if len(self._starts_over) == STARTS_OVER_MAX and now_s - self._starts_over[0] < STARTS_OVER_S:
            raise reason
        self._starts_over.append(now_s)
        logger.info("%s; its partitions start over at the group's offsets", reason)
        places = sorted(self._next)
        handler.lost(places)
        starts = handler.assigned(places) if places else {}
        self.resume(places)
        for place in places:
            self.seek(place, starts.get(place, OFFSET_BEGINNING))

    def _finish(self, handler: Handler) -> None:
        """End in order: the others have this worker's partitions at once, and not when its session is over."""
        try:
            handler.finish()
        except RegroupedError as error:
            logger.info("%s; the next worker starts over", error)
        self._stopping = True
        self._consumer.unsubscribe()
        deadline = time.monotonic() + LEAVE_S_MAX
        # A static member does not leave when it is closed, only when it gives its subscription up before.
        while self._consumer.memberid() and time.monotonic() < deadline:
            self._consumer.poll(0.01)

    def _received(self) -> list[Message]:
        """What has come: the first message as soon as it is there, and what comes in the wait after it."""
        first = self._consumer.poll(IDLE_S)
        return [] if first is None else [first, *self._consumer.consume(self._rows_max - 1, self._wait_s)]

    def _tell_lag(self, now_s: float) -> None:
        """Keep the metric of the lag up to date, from what the client knows of the ends without asking."""
        if now_s - self._lag_told_s < LAG_EVERY_S:
            return
        self._lag_told_s = now_s
        for place, position in self._next.items():
            if position is not None:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                telemetry.lag_messages.labels(self._group, *place).set(max(end - position, 0))

    def _raise_failure(self) -> None:
        """Raise what a handler raised in a rebalance, where the client library cannot carry it."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def pause(self, places: Iterable[Place]) -> None:
        """Take no messages of these partitions until `resume`."""
        self._consumer.pause([TopicPartition(*place) for place in places])

    def resume(self, places: Iterable[Place]) -> None:
        """Take messages of these partitions again."""
        self._consumer.resume([TopicPartition(*place) for place in places])

    def seek(self, place: Place, offset: int) -> None:
        """Go on reading a partition at an offset."""
        self._consumer.seek(TopicPartition(*place, offset))
        self._next[place] = None

    def still_owns(self, place: Place, offset: int) -> bool:
        """Ask the group's coordinator, by committing a hint, whether a partition is still this process's."""
        if place not in self._next:
            return False
        try:
            self._consumer.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in _NOT_A_MEMBER:
                return False
            raise UnavailableError(f"group {self._group}, commit of {place}: {_text(error)}") from error
        return True

    def hint(self, place: Place, offset: int) -> None:
        """Commit an offset that nothing is resumed from, so that the group's lag can be watched."""
        self._consumer.commit(offsets=[TopicPartition(*place, offset)], asynchronous=True)

    def committed(self, places: Sequence[Place]) -> dict[Place, int]:
        """The group's committed offsets; partitions without one are left out.

        Raises:
            UnavailableError: The brokers did not answer.
        """
        asked = [TopicPartition(*place) for place in places]
        try:
            found = self._consumer.committed(asked, timeout=ANSWER_S_MAX)
        except KafkaException as error:
            raise UnavailableError(f"group {self._group}, committed offsets: {_text(error)}") from error
        for answer in found:
            if answer.error is not None:
                raise UnavailableError(
                    f"group {self._group}, committed offset of {answer.topic}: {answer.error.str()}"
                )
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    @property
    def _regrouped(self) -> bool:
        """Whether all that was raised in a rebalance is that the partitions in hand start over."""
        return isinstance(self._failure, RegroupedError)

    def _fail(self, error: BaseException) -> None:
        """Keep what a handler raised in a rebalance for the loop; what ends the job comes first."""
        if self._failure is None or self._regrouped:
            self._failure = error

    def _assign(self, handler: Handler, partitions: list[TopicPartition]) -> None:
        places = [(partition.topic, partition.partition) for partition in partitions]
        try:
            starts = handler.assigned(places) if places else {}
        except BaseException as error:  # noqa: BLE001  It is raised from the loop.
            self._fail(error)
            return
        self._consumer.incremental_assign(
            [TopicPartition(*place, starts.get(place, OFFSET_BEGINNING)) for place in places]
        )
        self._next.update(dict.fromkeys(places))

    def _unassign(self, tell: Callable[[Sequence[Place]], None], partitions: list[TopicPartition]) -> None:
        places = [(partition.topic, partition.partition) for partition in partitions]
        if places and not self._stopping and (self._failure is None or self._regrouped):
            try:
                tell(places)
            except BaseException as error:  # noqa: BLE001  It is raised from the loop.
                self._fail(error)
        for place in places:
            if self._next.pop(place, None) is not None:
                telemetry.lag_messages.labels(self._group, *place).set(0)
        self._consumer.incremental_unassign(partitions)

    def _batches(self, messages: Sequence[Message]) -> list[Batch]:
        """The messages by topic, without those of partitions that went, or of places left by a seek."""
        by_topic: dict[str, list[Message]] = {}
        for message in messages:
            if message.error() is not None:
                self._look_at(message)
            else:
                by_topic.setdefault(message.topic() or "", []).append(message)
        return [
            batch for topic, some in by_topic.items() if len(batch := self._current(Batch.of(topic, some)))
        ]

    def _current(self, batch: Batch) -> Batch:
        keep = np.ones(len(batch), dtype=np.bool_)
        for place in batch.places():
            here = batch.partitions == place[1]
            if place not in self._next:
                keep[here] = False
            elif (expected := self._next[place]) is not None:
                keep[here & (batch.offsets < expected)] = False
        if not keep.all():
            batch = batch.take(keep.nonzero()[0])
        self._next.update(batch.next_offsets())
        return batch

    def _look_at(self, message: Message) -> None:
        error = message.error()
        place = f"{message.topic()} [{message.partition()}]"
        if error is None or error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise FaultError(
                f"group {self._group} was to go on at an offset that {place} does not have: {error.str()}. Either "
                "the topic's retention deleted messages before they were read, or the topic was made anew. Set "
                "the group's offset (or the lake) to where it shall go on, and start again."
            )
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):  # noqa: SLF001
            raise MissingPartError(
                f"topic {place} does not exist on this broker; `headrace topics apply` makes it."
            )
        if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL):  # noqa: SLF001
            raise FencedError(
                f"group {self._group}: {error.str()}. Another process has this worker's name "
                "(HEADRACE_STREAM__WORKER) and has taken over."
            )
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001
            raise FencedError(
                f"group {self._group} gave this worker up because a batch took too long: {error.str()}"
            )
        raise UnavailableError(f"group {self._group}, reading {place}: {error.str()}")


_NOT_A_MEMBER = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)


def _text(error: KafkaException) -> str:
    cause = error.args[0]
    return str(cause.str()) if isinstance(cause, KafkaError) else str(cause)
