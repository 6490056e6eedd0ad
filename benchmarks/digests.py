"""What stands in topics, as numbers to compare, so that speed cannot cost correctness."""

import hashlib
from collections.abc import Mapping, Sequence
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


def committed_values(settings: Settings, topic: str) -> dict[int, list[bytes]]:
    """The values that stand committed in a topic, in order, by partition."""
    return values_from(settings, topic, {})


def values_from(
    settings: Settings, topic: str, starts: Mapping[tuple[str, int], int]
) -> dict[int, list[bytes]]:
    """The same from some offsets on."""
    reader = TopicReader(settings, [topic], "benchmark", starts)
    values: dict[int, list[bytes]] = {partition: [] for _, partition in reader.positions}
    try:
        for messages in reader.read_to_end():
            for message in messages:
                values[message.partition() or 0].append(message.value() or b"")
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


def rows_digest(frame: pl.DataFrame, columns: Sequence[str]) -> int:
    """A number that is the same for the same rows in any order; compares within one process only.

    Times are compared as microseconds of UTC, whatever unit they came in.
    """
    times = pl.selectors.datetime().cast(pl.Datetime("us", "UTC"))
    return int(frame.select(columns).with_columns(times).hash_rows().to_numpy().sum(dtype=np.uint64))
