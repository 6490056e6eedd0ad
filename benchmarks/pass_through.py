"""The ceiling of a job between two topics: messages taken, handed on unseen, in transactions with their offsets.

What validate does without deciding anything: the same consumer, batches, transactions and partitions.
"""

import signal
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np

from infra.settings import load_settings
from schemas.catalogue import SALES_INPUT
from stream_jobs.batches import Batch, Place
from stream_jobs.runtime import Stream
from stream_jobs.transactions import Transactions


class PassThrough:
    """A `runtime.Handler` that writes what it takes to the same partition of another topic."""

    def __init__(self, stream: Stream, transactions: Transactions, target: str, rows_max: int) -> None:
        self._stream = stream
        self._transactions = transactions
        self._target = target
        self._rows_max = rows_max
        self._rows = 0
        self._offsets: dict[Place, int] = {}
        self._began_s = 0.0

    def assigned(self, places: Sequence[Place]) -> dict[Place, int]:
        """From the beginning."""
        return dict.fromkeys(places, 0)

    def revoked(self, places: Sequence[Place]) -> None:
        """Nobody else reads with this group."""

    def lost(self, places: Sequence[Place]) -> None:
        """Nobody else reads with this group."""

    def take(self, batch: Batch) -> None:
        """Hand a batch on."""
        if not self._rows:
            self._began_s = time.monotonic()
        for partition in np.unique(batch.partitions).tolist():
            rows = np.flatnonzero(batch.partitions == partition).tolist()
            values, keys = [batch.values[row] for row in rows], [batch.keys[row] for row in rows]
            self._transactions.write(self._target, partition, values, keys)
        self._offsets.update(batch.next_offsets())
        self._rows += len(batch)
        if self._rows >= self._rows_max:
            self.finish()

    def turn(self, now_s: float) -> None:
        """Commit what is old enough."""
        if self._rows and now_s - self._began_s >= 0.5:
            self.finish()

    def finish(self) -> None:
        """Commit what was handed on."""
        self._transactions.commit(self._offsets, self._stream.consumer)
        self._rows, self._offsets = 0, {}


def main() -> None:
    """Hand on all that comes into `sales-input`, to the topic that is named, until SIGTERM."""
    target = sys.argv[1]
    settings, stop = load_settings(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    transactions = Transactions(settings, target, "pass-through")
    stream = Stream(settings, [SALES_INPUT], target)
    stream.run(PassThrough(stream, transactions, target, settings.stream.transaction_rows_max), stop)
    transactions.close()


if __name__ == "__main__":
    main()
