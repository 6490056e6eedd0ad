"""A key's partition is the one that Kafka's clients choose."""

import uuid

import numpy as np
import polars as pl
import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import FaultError
from infra.kafka import admin, consumer, producer
from infra.settings import Settings
from schemas.partitioning import murmur2, partitions_of

# From the tests of Kafka's Java client: Utils.murmur2, as signed numbers.
JAVA_VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def naive_murmur2(data: bytes) -> int:
    """Byte by byte, as the algorithm is told."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    hashed = 0x9747B28C ^ len(data)
    for start in range(0, len(data) // 4 * 4, 4):
        word = int.from_bytes(data[start : start + 4], "little") * factor & mask
        word ^= word >> 24
        hashed = (hashed * factor & mask) ^ (word * factor & mask)
    rest = data[len(data) // 4 * 4 :]
    if rest:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * factor & mask
    hashed ^= hashed >> 13
    hashed = hashed * factor & mask
    return hashed ^ hashed >> 15


def test_hashes_are_those_of_the_java_client() -> None:
    hashes = murmur2(pl.Series(list(JAVA_VECTORS))).astype(np.int32)
    assert hashes.tolist() == list(JAVA_VECTORS.values())


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30), st.integers(1, 4096))
def test_columns_agree_with_the_hash_of_each_key(keys: list[str], partitions: int) -> None:
    expected = [(naive_murmur2(key.encode()) & 0x7FFFFFFF) % partitions for key in keys]
    assert partitions_of(pl.Series(keys, dtype=pl.String), partitions).tolist() == expected


def test_librdkafka_sends_each_key_to_the_partition_that_is_computed(installation: Settings) -> None:
    topic, partitions = f"keys-{uuid.uuid4().hex}", 7
    client = admin(installation)
    client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)
    keys = [f"fresh-mart/L-{number:03d}{'é' * (number % 3)}" for number in range(200)]
    sender = producer(installation)
    for key in keys:
        sender.produce(topic, key=key.encode(), value=b"")
    assert sender.flush(20) == 0
    reader = consumer(installation, topic)
    reader.subscribe([topic])
    found: dict[str, int | None] = {}
    for _ in range(200):
        for message in reader.consume(1_000, 0.1):
            found[(message.key() or b"").decode()] = message.partition()
        if len(found) == len(keys):
            break
    reader.close()
    assert found == dict(zip(keys, partitions_of(pl.Series(keys), partitions).tolist(), strict=True))


def test_a_key_that_is_missing_is_refused() -> None:
    with pytest.raises(FaultError, match="1 of 2 keys are null"):
        partitions_of(pl.Series(["a", None]), 4)
