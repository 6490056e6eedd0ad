"""How far each job is behind its input, from the offsets that its group has committed."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from infra.errors import UnavailableError
from infra.extents import end_offsets
from infra.kafka import admin, consumer
from infra.settings import Settings
from schemas.catalogue import EVENTS, LOCATIONS, PRICES, PRODUCTS, SALES_ERROR, SALES_INPUT, SALES_VALIDATED
from serving.ports import Lag
from stream_jobs.sink import group_of

REQUEST_TIMEOUT_S = 10.0
KEPT_S = 5.0
"""How long an answer is given again, seconds."""
MARKERS_MAX = 64
"""More than this behind is not looked into: it is real."""


INPUTS: dict[str, tuple[str, ...]] = {
    "validate": (SALES_INPUT,),
    "join": (SALES_VALIDATED,),
    "window": (SALES_VALIDATED,),
    "sink": (SALES_ERROR, LOCATIONS, PRODUCTS, PRICES, EVENTS),
}
"""The topics that each consumer group reads; ingest and report follow whole topics."""

WRITERS_OF_THE_LAKE = frozenset({"join", "sink"})


def lags(settings: Settings) -> list[Lag]:
    """The lag of each consumer group on each partition of its input topics.

    Between the last message and the end of a partition lie the markers of transactions, which no job reads: where
    little is left, it is looked whether any of it is a message.

    Raises:
        UnavailableError: The brokers do not answer.
    """
    client = admin(settings)
    try:
        metadata = client.list_topics(timeout=REQUEST_TIMEOUT_S)
        places = {
            (group_of(group, settings) if group in WRITERS_OF_THE_LAKE else group): [
                TopicPartition(topic, number)
                for topic in topics
                for number in metadata.topics[topic].partitions
            ]
            for group, topics in INPUTS.items()
        }
        ends = end_offsets(
            client,
            [place for group in places.values() for place in group],
            IsolationLevel.READ_COMMITTED,
            REQUEST_TIMEOUT_S,
        )
        found = []
        for group, wanted in places.items():
            request = [ConsumerGroupTopicPartitions(group, wanted)]
            futures = client.list_consumer_group_offsets(request, request_timeout=REQUEST_TIMEOUT_S)
            committed = futures[group].result().topic_partitions
            for place in sorted(committed, key=lambda place: (place.topic, place.partition)):
                end = ends[place.topic, place.partition]
                behind = max(end - max(place.offset, 0), 0)
                found.append(Lag(group, place.topic, place.partition, behind, end))
    except KafkaException as error:
        raise UnavailableError(f"asking for offsets: {error.args[0].str()}") from error
    only_markers = _without_messages(settings, [lag for lag in found if 0 < lag.messages <= MARKERS_MAX])
    return [replace(lag, messages=0) if lag in only_markers else lag for lag in found]


class LagWatch:
    """The lags for many who ask: the brokers are asked once in a few seconds, by one thread.

    Args:
        settings: Where the brokers are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: Sequence[Lag] = ()
        self._asked_s = float("-inf")

    def lags(self) -> Sequence[Lag]:
        """The lag of each job on each partition it reads, as of a few seconds ago.

        Raises:
            UnavailableError: The brokers do not answer.
        """
        with self._lock:
            if time.monotonic() - self._asked_s >= KEPT_S:
                self._found = lags(self._settings)
                self._asked_s = time.monotonic()
            return self._found


def _without_messages(settings: Settings, found: list[Lag]) -> set[Lag]:
    """Those of the lags behind which no message is, only markers."""
    if not found:
        return set()
    reader = consumer(settings, "lag-reader", enable_partition_eof=True, fetch_wait_max_ms=20)
    try:
        # Groups that read one partition may stand at different offsets of it.
        groups = [[lag for lag in found if lag.job == job] for job in {lag.job for lag in found}]
        return {lag for group in groups for lag in _at_ends(reader, group)}
    finally:
        reader.close()


def _at_ends(reader: Consumer, found: Sequence[Lag]) -> set[Lag]:
    """Those of one group's lags behind which the end of the partition comes first."""
    by_place = {(lag.topic, lag.partition): lag for lag in found}
    empty: set[Lag] = set()
    reader.assign([TopicPartition(*place, lag.end - lag.messages) for place, lag in by_place.items()])
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while by_place and time.monotonic() < deadline:
        for answer in reader.consume(MARKERS_MAX, 0.05):
            error = answer.error()
            # Whatever comes first of a partition, a message or its end, says what lies behind the lag.
            lag = by_place.pop((answer.topic() or "", answer.partition() or 0), None)
            if lag and error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                empty.add(lag)
    return empty
