"""An installation of its own for the tests of ingest, and ways to look into its topics."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from infra.embedded_broker import start_broker
from infra.settings import Settings, settings_environment
from infra.topic_reader import TopicReader
from schemas.catalogue import CATALOGUE
from schemas.codec import Codec
from schemas.registry import Registry
from tests.conftest import free_port
from tests.schemas.running import running_registry

WAIT_S_MAX = 90.0


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that comes; fail with its name when it does not."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {WAIT_S_MAX:g} s")
        time.sleep(0.02)


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
    port = free_port()
    with (folder / "broker.log").open("wb") as output:
        process = start_broker(port, folder / "broker", output)
        try:
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})

            def answers() -> bool:
                try:
                    client.list_topics(timeout=1)
                except KafkaException:
                    return False
                return True

            wait_until(answers, "the broker's answer")
            with running_registry(f"127.0.0.1:{port}", folder / "home") as settings:
                installation = Installation(settings)
                try:
                    yield installation
                finally:
                    installation.close()
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def running(job: Callable[[threading.Event], None]) -> Iterator[threading.Thread]:
    """Run a job in a thread; stop it at the end of the block and raise what it raised."""
    stop, failures = threading.Event(), list[BaseException]()

    def target() -> None:
        try:
            job(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(WAIT_S_MAX)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def ingest_process(settings: Settings) -> subprocess.Popen[bytes]:
    """An ingest job of sales in a process of its own, to be killed."""
    program = (
        "import threading\n"
        "from infra.blobs import open_store\n"
        "from infra.settings import load_settings\n"
        "from stream_jobs.ingest.job import run_ingest\n"
        "settings = load_settings()\n"
        "run_ingest(settings, open_store(settings), frozenset({'sales'}), threading.Event())\n"
    )
    environment = {**os.environ, **settings_environment(settings)}
    return subprocess.Popen([sys.executable, "-c", program], env=environment)
