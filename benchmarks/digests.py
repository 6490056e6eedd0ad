"""What stands in topics, as numbers to compare, so that speed cannot cost correctness."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from infra.errors import FaultError
from infra.settings import Settings
from infra.topic_reader import TopicReader


@dataclass(frozen=True, slots=True)
class Digest:
    """What a set of values is; equal digests mean equal values, each as often, in whatever order."""

    count: int
    total: int


def digest_of(values: Sequence[bytes]) -> Digest:
    """The digest of values: how many, and the sum of their hashes; compares within one process only."""
    hashes = pl.Series(values, dtype=pl.Binary).hash().to_numpy()
    return Digest(len(values), int(hashes.sum(dtype=np.uint64)))


def ordered_digest_of(values: Sequence[bytes]) -> str:
    """The digest of values in their order."""
    return hashlib.sha256(b"".join(values)).hexdigest()


def committed_values(settings: Settings, topic: str, values_max: int | None = None) -> dict[int, list[bytes]]:
    """The values that stand committed in a topic, in order, by partition.

    Args:
        settings: Where the brokers are.
        topic: The topic.
        values_max: Read about so many at most.
    """
    reader = TopicReader(settings, [topic], "benchmark")
    values: dict[int, list[bytes]] = {partition: [] for _, partition in reader.positions}
    count = 0
    try:
        for messages in reader.read_to_end():
            for message in messages:
                values[message.partition() or 0].append(message.value() or b"")
            count += len(messages)
            if values_max is not None and count >= values_max:
                break
    finally:
        reader.close()
    return values


def together(values: dict[int, list[bytes]]) -> list[bytes]:
    """The values of all partitions."""
    return [value for some in values.values() for value in some]


def check_equal(what: str, found: object, expected: object) -> None:
    """Stop when something is not as it must be.

    Raises:
        FaultError: It is not.
    """
    if found != expected:
        raise FaultError(f"{what}: expected {expected}, found {found}")


def sorted_rows(frames: Iterable[pl.DataFrame]) -> int:
    """A number that is the same for the same rows in any order; compares within one process only."""
    return sum(int(frame.hash_rows().to_numpy().sum(dtype=np.uint64)) for frame in frames) % 2**64
