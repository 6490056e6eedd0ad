"""Messages of one topic as columns: what the loop hands to a job."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one topic as columns; those of each partition are in its order.

    Attributes:
        topic: The topic.
        partitions: Partition of each, shape `(n_rows,)`.
        offsets: Offset of each, shape `(n_rows,)`.
        messages: The messages themselves.
        keys: Key of each.
        values: Value of each.
    """

    topic: str
    partitions: Rows
    offsets: Rows
    messages: Sequence[Message]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    @classmethod
    def of(cls, topic: str, messages: Sequence[Message]) -> "Batch":
        """Messages of a topic as columns."""
        # Unbound methods are mapped: calling them costs as much as all else that is done here.
        count = len(messages)
        return cls(
            topic,
            np.fromiter(map(Message.partition, messages), np.int64, count),
            np.fromiter(map(Message.offset, messages), np.int64, count),
            messages,
            list(map(Message.key, messages)),
            list(map(Message.value, messages)),
        )

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> "Batch":
        """The messages at these places."""
        places = rows.tolist()
        return Batch(
            self.topic,
            self.partitions[rows],
            self.offsets[rows],
            [self.messages[place] for place in places],
            [self.keys[place] for place in places],
            [self.values[place] for place in places],
        )

    def timestamp_ms(self, row: int) -> int:
        """Kafka's timestamp of one message, milliseconds since 1970."""
        return self.messages[row].timestamp()[1]

    def places(self) -> list[Place]:
        """The partitions that have messages here."""
        return [(self.topic, int(number)) for number in np.unique(self.partitions)]

    def next_offsets(self) -> dict[Place, int]:
        """Per partition the offset after its last message here."""
        reversed_first = np.unique(self.partitions[::-1], return_index=True)[1]
        last = len(self) - 1 - reversed_first
        return {(self.topic, int(self.partitions[row])): int(self.offsets[row]) + 1 for row in last}
