"""Transactions that say at which offsets they end.

Guarantee: an offset that `ends` tells is that of the last message which the open transaction wrote to its
partition; what lies there becomes visible with the transaction or never.
"""

import time

import numpy as np
import polars as pl
from confluent_kafka import KafkaError, KafkaException, Message

from infra import telemetry
from infra.errors import MissingPartError, UnavailableError
from infra.settings import Settings
from schemas.partitioning import partitions_of
from stream_jobs.transactions import ANSWER_S_MAX, Transactions

Ends = dict[tuple[str, int], int]


class EndTransactions(Transactions):
    """Transactions of one writer that spread messages over partitions and know where they ended.

    Args:
        settings: Where the brokers are.
        transactional_id: Name of this writer; starting a second one fences the first.
        job: Name of the job in the metrics.

    Raises:
        UnavailableError: The brokers did not answer.
    """

    def __init__(self, settings: Settings, transactional_id: str, job: str) -> None:
        super().__init__(settings, transactional_id, job, noting=True)
        self._partitions: dict[str, int] = {}
        self._awaited: set[tuple[str, int]] = set()
        self._ends: Ends = {}
        self._failure: KafkaError | None = None

    def spread(self, topic: str, keys: pl.Series, values: list[bytes]) -> None:
        """Write messages to the partitions of their keys; in a partition they keep their order.

        Args:
            topic: Topic written to.
            keys: Text keys without nulls, shape `(n_rows,)`.
            values: Values, shape `(n_rows,)`.

        Raises:
            FencedError: Another process has this writer's name.
            MissingPartError: The topic does not exist.
            UnavailableError: The brokers did not answer.
        """
        if not values:
            return
        partitions = partitions_of(keys, self._partition_count(topic))
        texts = keys.to_list()
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition).tolist()
            *others, last = rows
            self.write(topic, partition, [values[row] for row in others], [texts[row] for row in others])
            self._awaited.add((topic, partition))
            self._put(topic, partition, values[last], texts[last], self._note)
            telemetry.records_out.labels(self._job, topic).inc()

    def ends(self) -> Ends:
        """Wait until all that `spread` wrote since the last call lies in the topics; tell the last offsets.

        Raises:
            FencedError: Another process has this writer's name.
            NotCommittedError: A message was not written; nothing of the transaction will be committed.
            UnavailableError: The brokers did not answer.
        """
        deadline = time.monotonic() + ANSWER_S_MAX
        while self._awaited and self._failure is None:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{len(self._awaited)} partitions did not take messages in {ANSWER_S_MAX:g} s"
                )
            self._serve()
        if self._failure is not None:
            raise self._broken(self._failure, "writing records")
        found, self._ends = self._ends, {}
        return found

    def _note(self, error: KafkaError | None, message: Message) -> None:
        place = (message.topic() or "", message.partition() or 0)
        if error is not None:
            self._failure = self._failure or error
            return
        self._awaited.discard(place)
        self._ends[place] = max(self._ends.get(place, -1), message.offset() or 0)

    def _partition_count(self, topic: str) -> int:
        if topic not in self._partitions:
            try:
                found = self._producer.list_topics(topic, timeout=ANSWER_S_MAX).topics[topic]
            except KafkaException as error:
                raise UnavailableError(
                    f"asking for the partitions of {topic}: {error.args[0].str()}"
                ) from error
            if found.error is not None or not found.partitions:
                raise MissingPartError(
                    f"topic {topic} does not exist on this broker; `headrace topics apply` makes it."
                )
            self._partitions[topic] = len(found.partitions)
        return self._partitions[topic]
