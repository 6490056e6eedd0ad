"""How far each job is behind its input, from the offsets that its group has committed."""

from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from infra.errors import UnavailableError
from infra.kafka import admin
from infra.settings import Settings
from schemas.catalogue import EVENTS, LOCATIONS, PRICES, PRODUCTS, SALES_ERROR, SALES_INPUT, SALES_VALIDATED

REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How many messages of a partition a job has not yet handled; transaction markers count as messages."""

    job: str
    topic: str
    partition: int
    messages: int


INPUTS: dict[str, tuple[str, ...]] = {
    "validate": (SALES_INPUT,),
    "join": (SALES_VALIDATED,),
    "sink": (SALES_ERROR, LOCATIONS, PRODUCTS, PRICES, EVENTS),
}
"""The topics that each consumer group reads; ingest and report follow whole topics."""


def lags(settings: Settings) -> list[Lag]:
    """The lag of each consumer group on each partition of its input topics.

    Raises:
        UnavailableError: The brokers do not answer.
    """
    client = admin(settings)
    try:
        metadata = client.list_topics(timeout=REQUEST_TIMEOUT_S)
        places = {
            group: [
                TopicPartition(topic, number)
                for topic in topics
                for number in metadata.topics[topic].partitions
            ]
            for group, topics in INPUTS.items()
        }
        ends = _ends(client, [place for group in places.values() for place in group])
        found = []
        for group, wanted in places.items():
            request = [ConsumerGroupTopicPartitions(group, wanted)]
            futures = client.list_consumer_group_offsets(request, request_timeout=REQUEST_TIMEOUT_S)
            committed = futures[group].result().topic_partitions
            for place in sorted(committed, key=lambda place: (place.topic, place.partition)):
                behind = ends[place.topic, place.partition] - max(place.offset, 0)
                found.append(Lag(group, place.topic, place.partition, max(behind, 0)))
    except KafkaException as error:
        raise UnavailableError(f"asking for offsets: {error.args[0].str()}") from error
    return found


def _ends(client: AdminClient, places: list[TopicPartition]) -> dict[tuple[str, int], int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    futures = client.list_offsets(
        dict.fromkeys(places, latest),
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=REQUEST_TIMEOUT_S,
    )
    return {(place.topic, place.partition): future.result().offset for place, future in futures.items()}
