"""Validation: every delivered sale is forwarded as it came, or refused with every reason.

Reads `sales-input`; writes the original bytes of valid sales to the same partition of `sales-validated`,
refusals to the same partition of `sales-error`, and one tally of each delivery to `delivery-tallies`.

Guarantee: exactly once. Messages, tallies and offsets are one Kafka transaction; whatever fails, nothing is
committed past a record that was not written, and this process or the next one goes on from there. A sale is
judged only after the master data that was delivered before it, see `stream_jobs.ordering`.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from infra.blobs import BlobStore
from infra.errors import RegroupedError
from infra.settings import Settings
from schemas.catalogue import DELIVERY_TALLIES, SALES_ERROR, SALES_INPUT, SALES_VALIDATED
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.batches import Batch, Place
from stream_jobs.master_reader import MasterReader
from stream_jobs.rules import SALES_RULES, Rule
from stream_jobs.runtime import Stream
from stream_jobs.starting import Start, start_offsets
from stream_jobs.transactions import Transactions
from stream_jobs.verdicts import Judged, Tally, judge_work
from stream_jobs.waiting import Gate, WaitingRoom, Work

logger = logging.getLogger(__name__)

JOB = "validate"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where verdicts go, and under which name they are made.

    Attributes:
        group: Consumer group of the workers.
        validated: Topic of the valid sales.
        refused: Topic of the refusals.
        tallies: Topic of the counts.
    """

    group: str
    validated: str
    refused: str
    tallies: str


LIVE = Outputs(JOB, SALES_VALIDATED, SALES_ERROR, DELIVERY_TALLIES)
"""The outputs that everybody downstream reads."""


def run_validate(
    settings: Settings,
    store: BlobStore,
    stop: threading.Event,
    rules: Sequence[Rule] = SALES_RULES,
    outputs: Outputs = LIVE,
    start: Start | None = None,
) -> None:
    """Validate sales until `stop` is set.

    Args:
        settings: Where everything is; `stream.worker` names this worker among those of its job.
        store: Where snapshots of the master data lie.
        stop: Set it to end in order.
        rules: The rules that sales are judged by.
        outputs: Where the verdicts go.
        start: Where partitions begin of which nothing was ever judged; None means the beginning of the topic.

    Raises:
        HeadraceError: What stops the job; start it again, or mend what the text says.
    """
    registry = Registry(settings)
    # The transactions of a predecessor of this name end before its offsets are asked for.
    transactions = Transactions(settings, f"{outputs.group}-{settings.stream.worker}", outputs.group)
    reader: MasterReader | None = None
    try:
        reader = MasterReader(settings, registry, store, outputs.group)
        reader.start(stop)
        stream = Stream(settings, [SALES_INPUT], outputs.group)
        begin = start_offsets(settings, SALES_INPUT, start, reader.log)
        worker = Validator(settings, stream, reader, transactions, registry, Trial(rules, outputs, begin))
        stream.run(worker, stop)
    finally:
        transactions.close()
        if reader is not None:
            reader.close()
        registry.close()


@dataclass(frozen=True, slots=True)
class Trial:
    """What sales are judged by, where the verdicts go, and where one begins.

    Attributes:
        rules: The rules.
        outputs: Where the verdicts go.
        begin: Offset at which each partition begins of which nothing was ever judged.
    """

    rules: Sequence[Rule]
    outputs: Outputs
    begin: Mapping[Place, int]


class Validator:
    """Judges what the loop hands over; a `runtime.Handler`."""

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        reader: MasterReader,
        transactions: Transactions,
        registry: Registry,
        trial: Trial,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._transactions = transactions
        self._rules = trial.rules
        self._outputs = trial.outputs
        self._begin = trial.begin
        self._sales = Codec(SALES_INPUT, registry)
        self._errors = Codec(SALES_ERROR, registry)
        self._tallies = Codec(DELIVERY_TALLIES, registry)
        self._gate = Gate(reader, settings.stream.master_wait_s_max)
        self._waiting = WaitingRoom(self._gate, stream, trial.outputs.group)
        self._rows_max = settings.stream.transaction_rows_max
        self._age_s_max = settings.stream.transaction_wait_ms / 1000
        self._rows = 0
        self._began_s = 0.0
        self._offsets: dict[Place, int] = {}
        self._tally = Tally()

    def assigned(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Go on at the offsets that the last transaction of each partition committed."""
        return {**self._begin, **self._stream.committed(places)}

    def revoked(self, places: Sequence[Place]) -> None:
        """Commit what was judged of the partitions before they go."""
        self._waiting.drop(places)
        self._commit()

    def lost(self, places: Sequence[Place]) -> None:
        """Abort when the open transaction has rows of partitions that somebody else works on now.

        Raises:
            RegroupedError: It had.
        """
        self._waiting.drop(places)
        if taken := [place for place in places if place in self._offsets]:
            self._forget()
            self._transactions.abort()
            raise RegroupedError(
                f"{self._outputs.group}: another worker took over {taken} while they were being judged"
            )

    def take(self, batch: Batch) -> None:
        """Judge what is ready of a batch, hold the rest."""
        self._judge(self._waiting.admit(Work.decoded(batch, self._sales), time.monotonic()))

    def turn(self, now_s: float) -> None:
        """Follow the master data, judge what has become ready, commit what is old enough."""
        if self._reader.follow():
            self._gate.forget()
        for work in self._waiting.released(now_s):
            self._judge(work)
        if self._rows and now_s - self._began_s >= self._age_s_max:
            self._commit()

    def finish(self) -> None:
        """Commit what was judged; what is held is read again by the next process."""
        self._commit()

    def _judge(self, work: Work) -> None:
        if not len(work.batch):
            return
        if self._rows and self._rows + len(work.batch) > self._rows_max:
            self._commit()
        if not self._rows:
            self._began_s = time.monotonic()
        judged = judge_work(work, self._reader.tables, self._rules, datetime.now(UTC))
        self._forward(work.batch, judged)
        self._refuse(work.batch, judged)
        self._tally.add(judged.tally)
        self._offsets.update(work.batch.next_offsets())
        self._rows += len(work.batch)
        if self._rows >= self._rows_max:
            self._commit()

    def _forward(self, batch: Batch, judged: Judged) -> None:
        partitions = batch.partitions[judged.valid]
        for partition in np.unique(partitions).tolist():
            rows = judged.valid[partitions == partition].tolist()
            values, keys = [batch.values[row] for row in rows], [batch.keys[row] for row in rows]
            self._transactions.write(self._outputs.validated, partition, values, keys)

    def _refuse(self, batch: Batch, judged: Judged) -> None:
        if judged.errors.is_empty():
            return
        values = self._errors.encode(judged.errors)
        partitions = batch.partitions[judged.error_rows]
        for partition in np.unique(partitions).tolist():
            picked = (partitions == partition).nonzero()[0].tolist()
            keys = [batch.keys[int(judged.error_rows[row])] for row in picked]
            self._transactions.write(self._outputs.refused, partition, [values[row] for row in picked], keys)

    def _commit(self) -> None:
        if not self._rows:
            return
        records = self._tally.records(datetime.now(UTC))
        if records:
            values = [self._tallies.encode_record(record) for record in records]
            keys = [str(record["delivery_id"]) for record in records]
            self._transactions.write(self._outputs.tallies, 0, values, keys)
        offsets = self._offsets
        # Should the group have moved on, this is aborted, and all of it judged again.
        self._forget()
        self._transactions.commit(offsets, self._stream.consumer)

    def _forget(self) -> None:
        """Nothing is in the open transaction, or nothing will be."""
        self._rows, self._offsets, self._tally = 0, {}, Tally()
