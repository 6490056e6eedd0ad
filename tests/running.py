"""Real parts that run for as long as a test needs them, and ways to wait for what they do."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from infra.embedded_broker import start_broker
from infra.errors import MissingPartError
from infra.kafka import check_broker
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.settings import Settings, load_settings, settings_environment

WAIT_S_MAX = 90.0
ON_KAFKA = False
"""Whether brokers are Apache Kafka instead of the embedded one: `pytest --on-kafka`."""


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that comes; fail with its name when it does not."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {WAIT_S_MAX:g} s")
        time.sleep(0.02)


def answers(settings: Settings) -> bool:
    """Whether the broker of these settings answers."""
    try:
        check_broker(settings, 1)
    except MissingPartError:
        return False
    return True


@contextmanager
def running_broker(folder: Path, port: int = 0) -> Iterator[str]:
    """Bootstrap servers of a broker of its own, of the kind asked for, on a free port if none is named."""
    port = port or free_port()
    servers = f"127.0.0.1:{port}"
    with (folder / "broker.log").open("wb") as output:
        process = (
            start_kafka(port, folder, output) if ON_KAFKA else start_broker(port, folder / "broker", output)
        )
        try:
            wait_until(lambda: answers(load_settings(broker=servers)), "the broker's answer")
            yield servers
        finally:
            process.terminate()
            process.wait(60)


def start_kafka(port: int, folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start an Apache Kafka of one node as a child process that logs to `output`."""
    (node,) = cluster_nodes(folder, [(port, free_port())])
    command = kafka_command(kafka_jars(load_settings().cache), node)
    return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


@contextmanager
def running_job(job: Callable[[threading.Event], None]) -> Iterator[threading.Thread]:
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


def job_process(settings: Settings, code: str) -> subprocess.Popen[bytes]:
    """A job in a process of its own, to be killed; `code` sees `settings`, `stop` and `store`."""
    program = (
        "import signal, threading\n"
        "from infra.settings import load_settings\n"
        "from infra.telemetry import log_to_stderr\n"
        "from infra.blobs import open_store\n"
        "settings, stop = load_settings(), threading.Event()\n"
        "log_to_stderr(settings)\n"
        "store = open_store(settings)\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n" + code
    )
    environment = {**os.environ, **settings_environment(settings)}
    return subprocess.Popen([sys.executable, "-c", program], env=environment)
