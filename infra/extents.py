"""Which offsets topics have now, and whether a topic is still the one it was."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from infra.errors import MissingPartError, UnavailableError
from infra.kafka import admin
from infra.settings import Settings

ANSWER_S_MAX = 30.0

LEADER_WAIT_S = 0.1
"""Before a partition without a leader is asked again, seconds."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds.

    Attributes:
        topic_id: Kafka's id of the topic, another one when the topic is made anew; empty where the broker gives
            none.
        first: Offset of the oldest message that retention has left.
        end: Offset after the newest message of all, committed or not.
    """

    topic_id: str
    first: int
    end: int


def extents(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], Extent]:
    """The extent of each partition of some topics.

    Raises:
        MissingPartError: A topic does not exist.
        UnavailableError: The brokers do not answer.
    """
    client = admin(settings)
    futures = client.describe_topics(TopicCollection(list(topics)), request_timeout=ANSWER_S_MAX)
    ids: dict[tuple[str, int], str] = {}
    for topic, future in futures.items():
        try:
            told = future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise MissingPartError(
                    f"topic {topic} does not exist on this broker; `headrace topics apply` makes it."
                ) from error
            raise UnavailableError(f"asking for topic {topic}: {error.args[0].str()}") from error
        topic_id = "" if _is_zero(str(told.topic_id)) else str(told.topic_id)
        ids.update({(topic, partition.id): topic_id for partition in told.partitions})
    places = [TopicPartition(*place) for place in ids]
    firsts = _offsets(client, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    ends = end_offsets(client, places)
    return {place: Extent(topic_id, firsts[place], ends[place]) for place, topic_id in ids.items()}


def _is_zero(topic_id: str) -> bool:
    """Whether an id in base 64 is the one that stands for none."""
    return not topic_id.strip("A=")


def end_offsets(
    client: AdminClient,
    places: Sequence[TopicPartition],
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    wait_s_max: float = ANSWER_S_MAX,
) -> dict[tuple[str, int], int]:
    """The offset after the newest message of each partition: of all of them, or of those that are committed.

    Raises:
        UnavailableError: The brokers do not answer within `wait_s_max`.
    """
    return _offsets(client, places, OffsetSpec.latest(), isolation, wait_s_max)  # type: ignore[no-untyped-call]


def _offsets(
    client: AdminClient,
    places: Sequence[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    wait_s_max: float = ANSWER_S_MAX,
) -> dict[tuple[str, int], int]:
    deadline = time.monotonic() + wait_s_max
    found: dict[tuple[str, int], int] = {}
    missing = list(places)
    # A partition that was just made, or whose leader went, answers that it has no leader yet.
    while missing:
        futures = client.list_offsets(
            dict.fromkeys(missing, spec),
            isolation_level=isolation,
            request_timeout=max(deadline - time.monotonic(), LEADER_WAIT_S),
        )
        missing = []
        for place, future in futures.items():
            try:
                found[place.topic, place.partition] = future.result().offset
            except KafkaException as error:
                cause = error.args[0]
                if cause.code() not in _LEADERLESS or time.monotonic() > deadline:
                    raise UnavailableError(
                        f"asking for the offsets of {place.topic} [{place.partition}]: {cause.str()}"
                    ) from error
                missing.append(place)
        if missing:
            time.sleep(LEADER_WAIT_S)
    return found


_LEADERLESS = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""What a broker says of a partition while its leader is being found."""
