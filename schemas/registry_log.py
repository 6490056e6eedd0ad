"""The log of the embedded registry: the compacted topic `_schemas`.

Guarantee: there is one writer. Whoever opens the log fences every earlier writer before it reads, and an
entry counts only once it was committed and read back. After an error of `append` open the log anew.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.errors import CommitUnknownError, FencedError, MissingPartError, UnavailableError
from infra.kafka import admin, check_broker, producer, replica_config
from infra.settings import Settings
from infra.topic_reader import TopicReader

SCHEMAS_TOPIC = "_schemas"
_TIMEOUT_S = 30.0
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001  The client names this one so.
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)

Entry = tuple[dict[str, Any], dict[str, Any] | None]


class RegistryLog:
    """An append-only log of entries, each a key and a value of JSON. Not to be shared between threads."""

    def __init__(self, settings: Settings) -> None:
        """Open the log for writing, and make it if it is not there.

        Raises:
            MissingPartError: No broker answers.
            UnavailableError: The broker does not do what is asked in time.
        """
        check_broker(settings)
        _create_topic(settings)
        self._producer = producer(settings, transactional_id="schema-registry", linger_ms=0)
        try:
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            raise UnavailableError(f"the registry's log cannot be opened: {error.args[0].str()}") from error
        self._reader = TopicReader(settings, [SCHEMAS_TOPIC], "schema-registry")

    def read(self) -> Iterator[Entry]:
        """The entries that are committed and were not returned yet, up to now.

        Raises:
            UnavailableError: The end of the log was not reached in time.
        """
        for batch in self._reader.read_to_end():
            yield from _entries(batch)

    def append(self, entries: Sequence[Entry]) -> list[Entry]:
        """Commit entries, all of them or none, and read them back.

        Returns:
            Every entry that was not returned yet, up to the last of the given ones.

        Raises:
            FencedError: Another registry has opened the log.
            CommitUnknownError: The broker did not say whether it committed them, or does not show them.
        """
        written: list[int] = []
        try:
            self._producer.begin_transaction()
            for key, value in entries:
                self._producer.produce(
                    SCHEMAS_TOPIC,
                    key=_text(key),
                    value=None if value is None else _text(value),
                    partition=0,
                    on_delivery=lambda _error, message: written.append(message.offset() or 0),
                )
            self._producer.commit_transaction(_TIMEOUT_S)
        except KafkaException as error:
            cause = error.args[0]
            if cause.fatal() or cause.code() in _FENCED:
                raise FencedError(f"another schema registry writes {SCHEMAS_TOPIC}: {cause.str()}") from error
            raise CommitUnknownError(f"writing {SCHEMAS_TOPIC}: {cause.str()}") from error
        return self._read_back(max(written))

    def _read_back(self, last_offset: int) -> list[Entry]:
        deadline = time.monotonic() + _TIMEOUT_S
        found: list[Entry] = []
        while self._reader.positions[SCHEMAS_TOPIC, 0] <= last_offset:
            if time.monotonic() > deadline:
                raise CommitUnknownError(f"{SCHEMAS_TOPIC} does not show what was committed at {last_offset}")
            # One message at a time: asked for more, the client waits for more.
            found += _entries(self._reader.poll(rows_max=1, timeout_s=1.0))
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()


def _entries(messages: Sequence[Message]) -> Iterator[Entry]:
    for message in messages:
        raw_key, raw_value = message.key(), message.value()
        if raw_key is not None:
            yield json.loads(raw_key), None if raw_value is None else json.loads(raw_value)


def _text(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def _create_topic(settings: Settings) -> None:
    client = admin(settings)
    config = {"cleanup.policy": "compact", **replica_config(settings)}
    topic = NewTopic(SCHEMAS_TOPIC, 1, settings.replication, config=config)
    futures = client.create_topics([topic], operation_timeout=_TIMEOUT_S)
    try:
        futures[SCHEMAS_TOPIC].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise MissingPartError(f"topic {SCHEMAS_TOPIC} cannot be made: {error.args[0].str()}") from error
