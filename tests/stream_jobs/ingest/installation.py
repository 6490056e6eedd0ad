"""An installation of its own for the tests of ingest, and ways to look into its topics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import CATALOGUE
from schemas.codec import Codec
from schemas.registry import Registry
from tests.running import WAIT_S_MAX, running_broker, wait_until
from tests.schemas.running import running_registry


class Installation:
    """Looks into the topics of an installation that runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._registry = Registry(settings)
        self._codecs = {name: Codec(name, self._registry) for name in CATALOGUE}
        self._events: list[dict[str, Any]] = []
        self._follower = TopicReader(settings, ["deliveries"], "test")

    def close(self) -> None:
        self._follower.close()
        self._registry.close()

    def messages(self, topic: str) -> list[Message]:
        """All committed messages of a topic."""
        reader = TopicReader(self.settings, [topic], "test")
        try:
            return [message for batch in reader.read_to_end(WAIT_S_MAX) for message in batch]
        finally:
            reader.close()

    def record(self, topic: str, message: Message) -> dict[str, Any]:
        return self._codecs[topic].decode_record(message.value())

    def records(self, topic: str, delivery_id: int) -> list[dict[str, Any]]:
        """All committed records of a delivery."""
        found = [self.record(topic, message) for message in self.messages(topic)]
        return [record for record in found if record["delivery_id"] == delivery_id]

    def events(self) -> list[dict[str, Any]]:
        """The events of all deliveries that have come by now."""
        self._events += [self.record("deliveries", message) for message in self._follower.poll()]
        return self._events

    def kinds(self, delivery_id: int) -> list[str]:
        """What has happened to a delivery since it was accepted."""
        return [event["kind"] for event in self.events() if event["delivery_id"] == delivery_id]

    def wait_for_end(self, delivery_id: int) -> dict[str, Any]:
        """The one event that ends a delivery."""
        wait_until(
            lambda: bool({"closed", "rejected"} & set(self.kinds(delivery_id))), f"the end of {delivery_id}"
        )
        ended = [event for event in self.events() if event["delivery_id"] == delivery_id]
        (event,) = [event for event in ended if event["kind"] != "progress"]
        return event

    def positions(self, delivery_id: int) -> list[int]:
        """The positions of a delivery's sales, sorted."""
        return sorted(record["position"] for record in self.records("sales-input", delivery_id))


@contextmanager
def running_installation(folder: Path) -> Iterator[Installation]:
    with running_broker(folder) as servers, running_registry(servers, folder / "home") as settings:
        installation = Installation(settings)
        try:
            yield installation
        finally:
            installation.close()
