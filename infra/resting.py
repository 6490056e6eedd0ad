"""A consumer that rests at the end of its partitions instead of asking for more all the time.

The embedded broker answers a fetch of nothing at once, instead of keeping it for `fetch.wait.max.ms`, and a client
asks again thousands of times a second: an idle stack would take a whole machine. A consumer that has found the
end of all its partitions, and no message, is paused for 25 ms, then for twice as long, up to the bound that the
settings give; a message ends it. Brokers that keep an empty fetch need none of this: set the bound to 0.
"""

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

REST_S_MIN = 0.025
LOOK_S = 0.01
"""How long a consumer that woke without reason so far looks for messages, seconds."""

WAKE_S_MAX = 5.0

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""


class Resting:
    """Takes messages from a consumer that reports the ends of partitions (`enable.partition.eof`).

    Guarantee: a partition that its owner paused stays paused, one that it resumed is resumed.

    Args:
        client: The consumer; from now on it is paused and resumed here only.
        rest_s_max: Longest rest, seconds; 0 for none.
    """

    def __init__(self, client: Consumer, rest_s_max: float) -> None:
        self._client = client
        self._rest_s_max = rest_s_max
        self._flowing: set[Place] = set()
        self._at_end: set[Place] = set()
        self._rest_s = 0.0
        self._until_s: float | None = None

    def added(self, places: Iterable[Place]) -> None:
        """Partitions were assigned, and flow."""
        self._flowing.update(places)
        self._at_end.difference_update(places)
        if self._until_s is not None:
            self._until_s = 0.0

    def removed(self, places: Iterable[Place]) -> None:
        """Partitions are not the consumer's any more."""
        self._flowing.difference_update(places)
        self._at_end.difference_update(places)

    def pause(self, places: Iterable[Place]) -> None:
        """Take no messages of these partitions until `resume`."""
        places = list(places)
        self._client.pause(_partitions(places))
        self._flowing.difference_update(places)

    def resume(self, places: Iterable[Place]) -> None:
        """Take messages of these partitions again."""
        places = list(places)
        self.added(places)
        if self._until_s is None:
            self._client.resume(_partitions(places))

    def consume(self, rows_max: int, wait_s: float) -> list[Message]:
        """Take what has come: messages, errors, and ends of partitions, see `confluent_kafka.Consumer.consume`.

        Callbacks of the group are served also in a rest.
        """
        now_s = time.monotonic()
        if self._until_s is not None and now_s >= self._until_s:
            self._wake()
        if self._until_s is not None:
            wait_s = min(wait_s, self._until_s - now_s)
        elif self._rest_s:
            wait_s = min(wait_s, LOOK_S)
        received = self._client.consume(rows_max, wait_s)
        if self._rest_s_max:
            self._look_at(received)
        return received

    def _look_at(self, received: Iterable[Message]) -> None:
        quiet = True
        for message in received:
            place, error = (message.topic() or "", message.partition() or 0), message.error()
            if error is None:
                self._at_end.discard(place)
                self._rest_s, quiet = 0.0, False
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  The client names this one so.
                self._at_end.add(place)
        if quiet and self._until_s is None and self._flowing and self._flowing <= self._at_end:
            self._rest_s = min(max(2 * self._rest_s, REST_S_MIN), self._rest_s_max)
            self._client.pause(_partitions(self._flowing))
            self._until_s = time.monotonic() + self._rest_s

    def _wake(self) -> None:
        self._until_s = None
        self._at_end.clear()
        if not self._flowing:
            return
        places = _partitions(self._flowing)
        self._client.resume(places)
        try:
            # The thread that fetches sleeps for up to a second; a request of any kind wakes it.
            self._client.get_watermark_offsets(places[0], timeout=WAKE_S_MAX)
        except KafkaException:
            # The next fetch meets the same brokers, and what it says is looked at.
            return


def _partitions(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(*place) for place in places]
