"""Clients of Kafka, made in one place so that settings pass through to all of them.

Guarantee: every consumer reads committed messages only and commits nothing by itself; every producer is
idempotent and waits for all replicas. Messages are spread by Kafka's own murmur2 partitioner. A property that
Kafka's client does not know, or cannot use, is a `SettingError`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infra.errors import MissingPartError, SettingError
from infra.settings import Settings

logger = logging.getLogger(__name__)
client_logger = logging.getLogger("kafka")

MESSAGE_BYTES_MAX = 900_000

_LOOK_S = 0.25
"""How often a client that waits for the brokers looks at what it has to complain about, seconds."""

_Client = TypeVar("_Client")


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
    return _made(lambda: Consumer({**config, **client_config(settings)}, logger=client_logger))


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
    return _made(lambda: Producer({**config, **client_config(settings)}, logger=client_logger))


def admin(settings: Settings) -> AdminClient:
    """An administration client. Keep it in a variable while its futures run."""
    return _made(lambda: AdminClient(dict(client_config(settings)), logger=client_logger))


def replica_config(settings: Settings) -> dict[str, str]:
    """Properties of a topic that follow from the number of its replicas.

    Two replicas must have a message before it is acknowledged, so that no single broker's loss takes it; with three or
    more of them writing goes on meanwhile. Of fewer no number does both.
    """
    return {"min.insync.replicas": "2"} if settings.replication >= 3 else {}


def check_broker(settings: Settings, timeout_s: float = 10.0) -> None:
    """Ask the brokers for their metadata once.

    The client itself would go on asking a broker that refuses it; this ends with the broker's reason at once.

    Raises:
        SettingError: A broker refuses the user or the password, or shows a certificate that is not trusted.
        MissingPartError: No broker answered within `timeout_s`.
    """
    complaints = _Complaints()
    config = {**client_config(settings), "error_cb": complaints.errors.append}
    client = _made(lambda: AdminClient(config, logger=complaints.logger))  # type: ignore[arg-type]
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            client.list_topics(timeout=max(min(_LOOK_S, left_s), 0.01))
        except KafkaException as error:
            client.poll(0)
            complaints.raise_refusal(settings)
            if left_s <= _LOOK_S:
                protocol = settings.kafka.get("security.protocol", "PLAINTEXT")
                raise MissingPartError(
                    f"no Kafka broker answers at {settings.bootstrap_servers} within {timeout_s:g} s: "
                    f"{complaints.last or error.args[0].str()}. Start one (`headrace up`), set HEADRACE_BROKER to one "
                    f"that runs, or HEADRACE_KAFKA__SECURITY_PROTOCOL to what it speaks, if that is not {protocol}."
                ) from error
        else:
            return


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


class _Complaints(logging.Handler):
    """What a client says of brokers that it cannot use, kept instead of logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("kafka.check")  # noqa: LOG001  Its records go nowhere else.
        self.logger.addHandler(self)
        self.errors: list[KafkaError] = []
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("FAIL "):
            self.last = record.getMessage().rpartition("]: ")[2]

    def raise_refusal(self, settings: Settings) -> None:
        """Raise what will not mend itself, if there was any such thing."""
        for error in self.errors:
            if error.code() in _REFUSALS:
                raise SettingError(
                    f"{_REFUSALS[error.code()]}; the brokers at {settings.bootstrap_servers} said: {error.str()}"
                )


_REFUSALS = {
    KafkaError._AUTHENTICATION: (  # noqa: SLF001  The client names them so.
        "HEADRACE_KAFKA__SASL_USERNAME, HEADRACE_KAFKA__SASL_PASSWORD, HEADRACE_KAFKA__SASL_MECHANISM: expected those "
        "of a user that the brokers know, found that they refuse them"
    ),
    KafkaError._SSL: (  # noqa: SLF001
        "HEADRACE_KAFKA__SSL_CA_LOCATION: expected a PEM file of the authority that signed the brokers' certificates, "
        "found that TLS with them fails"
    ),
}


def _made(make: Callable[[], _Client]) -> _Client:
    """A client, unless its properties are wrong."""
    try:
        return make()
    except KafkaException as error:
        raise SettingError(
            f"HEADRACE_KAFKA__…: expected properties that Kafka's client can use, found: {error.args[0].str()}"
        ) from error
