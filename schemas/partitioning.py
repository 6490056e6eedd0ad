"""Which partition a key belongs to: Kafka's own partitioner, on columns.

Guarantee: the partition is the one that Kafka's Java client and librdkafka's `murmur2` choose, so that
messages of one key meet whoever wrote them.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.errors import FaultError

_SEED = 0x9747B28C
_FACTOR = np.uint32(0x5BD1E995)
_SHIFT = np.uint32(24)


def partitions_of(keys: pl.Series, partitions: int) -> npt.NDArray[np.int32]:
    """The partition of each key.

    Args:
        keys: Text keys without nulls; each distinct key is hashed once.
        partitions: Number of partitions of the topic.

    Returns:
        Partition numbers, shape `(len(keys),)`.

    Raises:
        FaultError: A key is null, or there is no partition.
    """
    if partitions < 1 or keys.null_count():
        raise FaultError(
            f"{keys.null_count()} of {len(keys)} keys are null, for {partitions} partitions; "
            "expected none and at least one"
        )
    distinct = keys.unique()
    chosen = (murmur2(distinct) & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)
    return (
        keys.replace_strict(distinct, pl.Series(chosen.astype(np.int32)), return_dtype=pl.Int32)
        .to_numpy()
        .astype(np.int32, copy=False)
    )


def murmur2(keys: pl.Series) -> npt.NDArray[np.uint32]:
    """Kafka's 32-bit MurmurHash2 of each key's UTF-8 bytes (Austin Appleby's algorithm, Kafka's seed).

    Args:
        keys: Text without nulls.

    Returns:
        Unsigned hashes, shape `(len(keys),)`.
    """
    encoded = keys.cast(pl.Binary).to_list()
    sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    hashes = np.empty(len(encoded), dtype=np.uint32)
    # Keys of one length are a matrix, and their steps are the same.
    for size in np.unique(sizes).tolist():
        rows = np.flatnonzero(sizes == size)
        joined = b"".join([encoded[row] for row in rows.tolist()])
        hashes[rows] = _hash_matrix(np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), size))
    return hashes


def _hash_matrix(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    rows, size = data.shape
    whole = size - size % 4
    hashes = np.full(rows, _SEED ^ size, dtype=np.uint32)
    words = np.ascontiguousarray(data[:, :whole]).view("<u4").astype(np.uint32).reshape(rows, whole // 4)
    for column in range(whole // 4):
        word = words[:, column] * _FACTOR
        word ^= word >> _SHIFT
        hashes = hashes * _FACTOR ^ word * _FACTOR
    if size % 4:
        for place in reversed(range(whole, size)):
            hashes ^= data[:, place].astype(np.uint32) << np.uint32(8 * (place - whole))
        hashes *= _FACTOR
    hashes ^= hashes >> np.uint32(13)
    hashes *= _FACTOR
    hashes ^= hashes >> np.uint32(15)
    return hashes
