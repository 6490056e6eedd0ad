"""The topics: one entry holds all that is agreed on a topic.

Guarantee: what stands here is what `apply` creates and what `check` compares the cluster and the registry
with. A topic has an owner, the only job that writes to it; anyone may read it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from infra.errors import UnavailableError
from infra.kafka import admin, check_broker, replica_config
from infra.settings import Settings
from schemas.compatibility import Level
from schemas.examples import EXAMPLES
from schemas.records import schema_text
from schemas.registry import Registry

SALES_INPUT = "sales-input"
SALES_VALIDATED = "sales-validated"
SALES_ERROR = "sales-error"
DELIVERIES = "deliveries"
LOCATIONS = "locations"
PRODUCTS = "products"
PRICES = "prices"
EVENTS = "events"
DELIVERY_TALLIES = "delivery-tallies"
DELIVERY_REPORTS = "delivery-reports"
SALES_WINDOWS = "sales-windows"
SALES_LATE = "sales-late"

_DAY_MS = 86_400_000
FOR_EVER_MS = -1
SALES_RETENTION_MS = 14 * _DAY_MS
ERRORS_RETENTION_MS = 90 * _DAY_MS
MASTER_LAG_MS = SALES_RETENTION_MS + _DAY_MS
"""A version of a location is kept at least as long as a sale that may still be judged by it."""

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Topic:
    """What is agreed on a topic.

    Attributes:
        name: Name of the topic; its values are registered under `NAME-value`.
        owner: The job that writes to it.
        key: What the key consists of.
        record: Name of the record that its values are.
        partitions: Number of partitions, or `sales` for `settings.sales_partitions`.
        cleanup: `delete` by age, or `compact` to the newest value of a key.
        retention_ms: Age at which messages may be deleted; -1 keeps them for ever.
        compaction_lag_ms: Age below which a value is never compacted away.
        compatibility: What a new version of the schema must keep.
    """

    name: str
    owner: str
    key: str
    record: str
    partitions: int | Literal["sales"] = 1
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = FOR_EVER_MS
    compaction_lag_ms: int = 0
    # Jobs are upgraded one at a time and read topics from the beginning: every version reads every other.
    compatibility: Level = "FULL_TRANSITIVE"

    @property
    def subject(self) -> str:
        """Where the registry keeps the schemas of its values."""
        return subject_of(self.name)

    @property
    def examples(self) -> tuple[Mapping[str, Any], ...]:
        """Records as they may stand in it."""
        return EXAMPLES[self.record]

    def partition_count(self, settings: Settings) -> int:
        """How many partitions it is created with."""
        return settings.sales_partitions if self.partitions == "sales" else self.partitions

    def config(self, settings: Settings) -> dict[str, str]:
        """Kafka's own properties of the topic."""
        config = {"cleanup.policy": self.cleanup, "retention.ms": str(self.retention_ms)}
        config |= replica_config(settings)
        if self.cleanup == "compact":
            config["min.compaction.lag.ms"] = str(self.compaction_lag_ms)
        return config


def subject_of(topic: str) -> str:
    """The registry's subject for the values of a topic."""
    return f"{topic}-value"


CATALOGUE: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            SALES_INPUT, "ingest", "customer_id/location_id", "Sale", "sales", retention_ms=SALES_RETENTION_MS
        ),
        Topic(
            SALES_VALIDATED,
            "validate",
            "customer_id/location_id",
            "Sale",
            "sales",
            retention_ms=SALES_RETENTION_MS,
        ),
        Topic(
            SALES_ERROR,
            "validate, ingest",
            "as in the source",
            "SaleError",
            "sales",
            retention_ms=ERRORS_RETENTION_MS,
        ),
        Topic(DELIVERIES, "ingest", "customer_id/digest", "DeliveryEvent"),
        Topic(
            LOCATIONS,
            "ingest",
            "customer_id/location_id",
            "Location",
            cleanup="compact",
            compaction_lag_ms=MASTER_LAG_MS,
        ),
        Topic(
            PRODUCTS,
            "ingest",
            "customer_id/product_id",
            "Product",
            cleanup="compact",
            compaction_lag_ms=MASTER_LAG_MS,
        ),
        Topic(
            PRICES,
            "ingest",
            "customer_id/location_id/product_id/valid_from",
            "Price",
            cleanup="compact",
            compaction_lag_ms=MASTER_LAG_MS,
        ),
        Topic(
            EVENTS,
            "ingest",
            "customer_id/event_id",
            "Event",
            cleanup="compact",
            compaction_lag_ms=MASTER_LAG_MS,
        ),
        Topic(DELIVERY_TALLIES, "validate, ingest", "delivery_id", "DeliveryTally"),
        Topic(DELIVERY_REPORTS, "report", "delivery_id", "DeliveryReport", cleanup="compact"),
        Topic(
            SALES_WINDOWS,
            "window",
            "customer_id/location_id/product_id/window/starts_at",
            "SalesWindow",
            "sales",
            cleanup="compact",
        ),
        Topic(
            SALES_LATE,
            "window",
            "customer_id/location_id",
            "LateSale",
            "sales",
            retention_ms=ERRORS_RETENTION_MS,
        ),
    )
}
"""All topics by name."""


def schema_of(topic: str) -> str:
    """The Avro schema of a topic's values, JSON text."""
    return schema_text(CATALOGUE[topic].record)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that `apply` did."""

    topic: str
    done: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it is agreed."""

    topic: str
    aspect: str
    expected: str
    found: str


def apply(settings: Settings) -> list[Change]:
    """Create the topics that are missing and register the schemas that are new.

    What exists is left as it is; `check` says where it differs.

    Raises:
        MissingPartError: The broker or the registry does not answer.
        IncompatibleSchemaError: A schema would break its readers; no topic of it has been touched.
        UnavailableError: The broker did not create a topic in time.
    """
    check_broker(settings)
    registry = Registry(settings)
    registry.check()
    changes = []
    try:
        for topic in CATALOGUE.values():
            if registry.own_level(topic.subject) != topic.compatibility:
                registry.set_level(topic.subject, topic.compatibility)
                changes.append(Change(topic.name, f"compatibility set to {topic.compatibility}"))
            if registry.id_of(topic.subject, schema_of(topic.name)) is None:
                schema_id = registry.register(topic.subject, schema_of(topic.name))
                changes.append(Change(topic.name, f"schema {topic.record} registered with id {schema_id}"))
    finally:
        registry.close()
    return changes + create(settings, CATALOGUE.values())


def create(settings: Settings, topics: Iterable[Topic]) -> list[Change]:
    """Create those of the topics that are missing.

    Raises:
        UnavailableError: The broker did not create a topic in time.
    """
    client = admin(settings)
    existing = client.list_topics(timeout=_TIMEOUT_S).topics
    missing = [topic for topic in topics if topic.name not in existing]
    if not missing:
        return []
    futures = client.create_topics(
        [
            NewTopic(
                topic.name,
                topic.partition_count(settings),
                settings.replication,
                config=topic.config(settings),
            )
            for topic in missing
        ],
        operation_timeout=_TIMEOUT_S,
    )
    changes = []
    for topic in missing:
        try:
            futures[topic.name].result(_TIMEOUT_S)
        except KafkaException as error:
            # Somebody else applies the same catalogue at the same time.
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise UnavailableError(f"topic {topic.name} was not created: {error.args[0].str()}") from error
        changes.append(Change(topic.name, f"created with {topic.partition_count(settings)} partitions"))
    return changes


def check(settings: Settings) -> list[Difference]:
    """Compare the cluster and the registry with the catalogue.

    Raises:
        MissingPartError: The broker or the registry does not answer.
    """
    check_broker(settings)
    registry = Registry(settings)
    registry.check()
    client = admin(settings)
    found = client.list_topics(timeout=_TIMEOUT_S).topics
    shapes = {name: _shape(topic) for name, topic in found.items() if name in CATALOGUE}
    configs = _configs(client, list(shapes))
    try:
        return [
            difference
            for topic in CATALOGUE.values()
            for difference in (
                *_cluster_differences(topic, settings, shapes, configs),
                *_schema_differences(topic, registry),
            )
        ]
    finally:
        registry.close()


def _cluster_differences(
    topic: Topic,
    settings: Settings,
    shapes: Mapping[str, tuple[int, int]],
    configs: Mapping[str, Mapping[str, str]],
) -> Iterator[Difference]:
    if topic.name not in shapes:
        yield Difference(topic.name, "topic", "exists", "missing")
        return
    partitions, replicas = shapes[topic.name]
    if partitions != topic.partition_count(settings):
        yield Difference(topic.name, "partitions", str(topic.partition_count(settings)), str(partitions))
    if replicas != settings.replication:
        yield Difference(topic.name, "replicas", str(settings.replication), str(replicas))
    for name, value in topic.config(settings).items():
        found = configs[topic.name].get(name, "not set")
        if found != value:
            yield Difference(topic.name, name, value, found)


def _shape(topic: TopicMetadata) -> tuple[int, int]:
    """Number of partitions of a topic, and of replicas of the one that has fewest."""
    partitions = topic.partitions.values()
    return len(partitions), min((len(partition.replicas) for partition in partitions), default=0)


def _schema_differences(topic: Topic, registry: Registry) -> Iterator[Difference]:
    level = registry.own_level(topic.subject)
    if level != topic.compatibility:
        yield Difference(topic.name, "compatibility", topic.compatibility, level or "not set")
    if registry.id_of(topic.subject, schema_of(topic.name)) is None:
        found = "no schema" if registry.latest(topic.subject) is None else "other versions only"
        yield Difference(topic.name, "schema", f"{topic.record} as in the catalogue", found)


def _configs(client: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = client.describe_configs(resources, request_timeout=_TIMEOUT_S)
    try:
        return {
            resource.name: {entry.name: entry.value for entry in future.result(_TIMEOUT_S).values()}
            for resource, future in futures.items()
        }
    except KafkaException as error:
        raise UnavailableError(f"the broker does not describe its topics: {error.args[0].str()}") from error
