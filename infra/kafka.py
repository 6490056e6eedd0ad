"""Clients of Kafka, made in one place so that settings pass through to all of them.

Guarantee: every consumer reads committed messages only and commits nothing by itself; every producer is
idempotent and waits for all replicas. Messages are spread by Kafka's own murmur2 partitioner.
"""

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infra.errors import MissingPartError
from infra.settings import Settings

logger = logging.getLogger(__name__)
client_logger = logging.getLogger("kafka")

MESSAGE_BYTES_MAX = 900_000


def client_config(settings: Settings) -> dict[str, str]:
    """What every client shares: where the brokers are, and the properties passed through."""
    return {"bootstrap.servers": settings.bootstrap_servers, **settings.kafka}


def consumer(settings: Settings, group: str, **properties: object) -> Consumer:
    """A consumer of committed messages that starts at the beginning and commits only when told to.

    Args:
        settings: Where the brokers are.
        group: Consumer group; also for readers that assign partitions themselves.
        properties: Further properties, with `_` for `.`.
    """
    config = {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "fetch.message.max.bytes": 8 * 2**20,
        "queued.max.messages.kbytes": 64 * 1024,
        "fetch.queue.backoff.ms": 5,
        "topic.metadata.refresh.interval.ms": 10_000,
        **dotted(properties),
    }
    return Consumer({**config, **client_config(settings)}, logger=client_logger)


def producer(settings: Settings, transactional_id: str | None = None, **properties: object) -> Producer:
    """An idempotent producer; with a transactional id its transactions fence older ones of the same id."""
    config: dict[str, object] = {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": settings.stream.linger_ms,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 512 * 1024,
        **dotted(properties),
    }
    if transactional_id is not None:
        config["transactional.id"] = transactional_id
        config["transaction.timeout.ms"] = 60_000
        # A transaction that begins while the markers of the last one are still being written is told to try
        # again, nearly always; librdkafka's own 100 ms would be most of the time that a transaction takes.
        config["retry.backoff.ms"] = 2
        config["retry.backoff.max.ms"] = 100
    return Producer({**config, **client_config(settings)}, logger=client_logger)


def admin(settings: Settings) -> AdminClient:
    """An administration client. Keep it in a variable while its futures run."""
    return AdminClient(dict(client_config(settings)), logger=client_logger)


def check_broker(settings: Settings, timeout_s: float = 10.0) -> None:
    """Ask the brokers for their metadata once.

    Raises:
        MissingPartError: No broker answered within `timeout_s`.
    """
    client = admin(settings)
    try:
        client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise MissingPartError(
            f"no Kafka broker answers at {settings.bootstrap_servers} within {timeout_s:g} s: "
            f"{error.args[0].str()}. "
            "Start one (`headrace up`), or set HEADRACE_BROKER to one that runs."
        ) from error


def broker_answers(settings: Settings, timeout_s: float = 1.0) -> bool:
    """Whether the brokers answer a question for their metadata in time."""
    try:
        check_broker(settings, timeout_s)
    except MissingPartError:
        return False
    return True


def dotted(properties: Mapping[str, object]) -> dict[str, object]:
    """Python keyword arguments as Kafka properties: `linger_ms=5` becomes `linger.ms`."""
    return {name.replace("_", "."): value for name, value in properties.items()}
