"""Reads whole topics from the beginning or from given offsets, without a group's offsets, and follows them.

For what a process keeps in memory: deliveries, tallies, master data, reports. Guarantee: `poll` returns each
committed message once, in the order of its partition; what is committed below a position, and not below its
start, has been returned. An offset that a topic does not have any more, or not yet, is an error, never skipped.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from infra.errors import FaultError, MissingPartError, UnavailableError
from infra.extents import end_offsets
from infra.kafka import admin, consumer
from infra.settings import Settings

logger = logging.getLogger(__name__)

METADATA_TIMEOUT_S = 10.0
ROWS_MAX = 10_000


class TopicReader:
    """A follower of topics that are small enough, or important enough, to be read whole.

    Args:
        settings: Where the brokers are.
        topics: Topics to read, every partition of each.
        name: Names the reader in the brokers' logs; no offsets are kept under it.
        starts: Offset that each (topic, partition) is read from; absent means 0.

    Raises:
        MissingPartError: No broker answers, or a topic does not exist.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        name: str,
        starts: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self._admin = admin(settings)
        self._consumer = consumer(
            settings,
            f"{name}-reader",
            enable_partition_eof=True,
            fetch_wait_max_ms=100,
            auto_offset_reset="error",
        )
        begin = starts or {}
        try:
            partitions = [
                TopicPartition(topic, number, begin.get((topic, number), 0))
                for topic in topics
                for number in self._partitions(topic)
            ]
            self._consumer.assign(partitions)
        except BaseException:
            self._consumer.close()
            raise
        self.positions: dict[tuple[str, int], int] = {(p.topic, p.partition): p.offset for p in partitions}

    def _partitions(self, topic: str) -> list[int]:
        try:
            found = self._consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise MissingPartError(
                f"no Kafka broker answers within {METADATA_TIMEOUT_S:g} s: {error.args[0].str()}. "
                "Start one (`headrace up`), or set HEADRACE_BROKER to one that runs."
            ) from error
        if found.error is not None or not found.partitions:
            raise MissingPartError(
                f"topic {topic} does not exist on this broker; `headrace topics apply` makes it."
            )
        return sorted(found.partitions)

    def poll(self, rows_max: int = ROWS_MAX, timeout_s: float = 0.05, gather_s: float = 0.0) -> list[Message]:
        """Take what has come, at most `rows_max` messages.

        Args:
            rows_max: Most messages taken.
            timeout_s: Longest wait for the first, seconds.
            gather_s: Longest wait for others after it, seconds.

        Raises:
            FaultError: A topic does not have the offset that is next any more, or not yet.
            UnavailableError: The brokers reported an error that the client cannot mend by itself.
        """
        # To consume many is to wait for all of them, or for the whole time.
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        return self._taken([first, *self._consumer.consume(rows_max - 1, gather_s)])

    def _taken(self, received: Sequence[Message]) -> list[Message]:
        """The messages among what was received; the positions follow."""
        messages = []
        for message in received:
            place = (message.topic() or "", _number(message.partition()))
            error = message.error()
            if error is None:
                self.positions[place] = _number(message.offset()) + 1
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  The client names this one so.
                # An end also lies behind the markers of transactions, which are never returned.
                self.positions[place] = max(self.positions[place], _number(message.offset()))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                raise FaultError(
                    f"{place[0]} [{place[1]}]: expected messages from offset {self.positions[place]}, found that the "
                    f"topic does not have it: {error.str()}. Either messages were deleted before they were read, or "
                    "the topic was made anew; start again to go on from a snapshot or the topic's beginning."
                )
            elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                raise UnavailableError(f"reading {place[0]} [{place[1]}]: {error.str()}")
        return messages

    def read_to_end(self, timeout_s: float = 90.0) -> Iterator[list[Message]]:
        """Yield batches until all that was written when this was called has been returned or was aborted.

        The ends are those of all writing, not of what is committed: a commit may stand behind another
        writer's open transaction, and to stop before it would be to miss it.

        Raises:
            UnavailableError: The ends were not reached within `timeout_s`. An open transaction holds them
                back until it ends or its 60 s are over.
        """
        deadline = time.monotonic() + timeout_s
        ends = end_offsets(
            self._admin, [TopicPartition(*place) for place in self.positions], wait_s_max=timeout_s
        )
        while missing := sorted(place for place, end in ends.items() if self.positions[place] < end):
            if time.monotonic() > deadline:
                places = ", ".join(f"{topic} [{number}]" for topic, number in missing)
                raise UnavailableError(f"the end of {places} was not reached within {timeout_s:g} s")
            if batch := self._taken(self._consumer.consume(ROWS_MAX, 0.1)):
                yield batch

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()


def _number(value: int | None) -> int:
    """A field that the client's types call optional, and that is there in every message it returns."""
    if value is None:
        raise UnavailableError("the Kafka client returned a message without partition or offset")
    return value
