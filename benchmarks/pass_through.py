"""The ceiling of a job between two topics: messages taken, handed on unseen, in transactions with their offsets.

What validate does without deciding anything: the same consumer, batches, transactions and partitions.
"""

import json
import sys
import time

import numpy as np

from infra.extents import extents
from infra.settings import load_settings
from schemas.catalogue import SALES_INPUT
from stream_jobs.runtime import Batch, Place, Stream
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
        self.commits: list[tuple[float, int]] = []

    def assigned(self, places: list[Place]) -> dict[Place, int]:
        """From the beginning."""
        return dict.fromkeys(places, 0)

    def revoked(self, places: list[Place]) -> None:
        """Nobody else reads with this group."""

    def lost(self, places: list[Place]) -> None:
        """Nobody else reads with this group."""

    def take(self, batch: Batch) -> None:
        """Hand a batch on."""
        for partition in np.unique(batch.partitions).tolist():
            rows = np.flatnonzero(batch.partitions == partition).tolist()
            values, keys = [batch.values[row] for row in rows], [batch.keys[row] for row in rows]
            self._transactions.write(self._target, partition, values, keys)
        self._offsets.update(batch.next_offsets())
        self._rows += len(batch)
        if self._rows >= self._rows_max:
            self.commit()

    def turn(self, now_s: float) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """Nothing is left: the loop ends when all is handed on."""

    def commit(self) -> None:
        """Commit what was handed on."""
        self._transactions.commit(self._offsets, self._stream.consumer)
        self.commits.append((time.monotonic(), self._rows))
        self._rows, self._offsets = 0, {}


class _Until:
    """Says stop when so many messages were handed on."""

    def __init__(self, handler: PassThrough, messages: int) -> None:
        self._handler = handler
        self._messages = messages

    def is_set(self) -> bool:
        handler = self._handler
        done = sum(rows for _, rows in handler.commits)
        if done + handler._rows >= self._messages:  # noqa: SLF001
            if handler._rows:  # noqa: SLF001
                handler.commit()
            return True
        return False


def main() -> None:
    """Hand on all that is in `sales-input`, and print the rate after the first transaction."""
    target, messages = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    extents(settings, [target])
    transactions = Transactions(settings, target, "pass-through")
    stream = Stream(settings, [SALES_INPUT], target, static=False)
    handler = PassThrough(stream, transactions, target, settings.stream.transaction_rows_max)
    stream.run(handler, _Until(handler, messages))  # type: ignore[arg-type]
    transactions.close()
    began, first = handler.commits[0]
    ended = handler.commits[-1][0]
    counted = sum(rows for _, rows in handler.commits) - first
    print(json.dumps({"per_s": counted / (ended - began), "messages": counted + first}))


if __name__ == "__main__":
    main()
