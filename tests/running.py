"""Real parts that run for as long as a test needs them, and ways to wait for what they do."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.embedded_broker import broker_command
from infra.kafka import admin, broker_answers
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.settings import Settings, load_settings, settings_environment

WAIT_S_MAX = 90.0
ON_KAFKA = False
"""Whether brokers are Apache Kafka instead of the embedded one: `pytest --on-kafka`."""


def free_port() -> int:
    """A port that nothing listens on at this moment, and that no client is given meanwhile."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nothing listens on at this moment."""
    while True:
        # Below those that the kernel gives to whoever asks for any.
        first = random.randrange(20_000, 32_000 - count)
        with ExitStack() as listeners:
            try:
                for port in range(first, first + count):
                    listeners.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that comes; fail with its name when it does not."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {WAIT_S_MAX:g} s")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Program:
    """How a server is started.

    Attributes:
        command: Program and arguments.
        url: Where clients reach it.
        log: File that its output goes to.
        environment: Further variables.
    """

    command: list[str]
    url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class Server:
    """A server that can be killed and started again on its folder."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.url = program.url
        self.start()

    def start(self) -> None:
        """Start it, again."""
        with self._program.log.open("ab") as output:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                self._program.command,
                env={**os.environ, **self._program.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """End it in order; its exit code."""
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def running_server(program: Program, ready: Callable[[], bool]) -> Iterator[Server]:
    """A server that is stopped at the end of the block."""
    server = Server(program)
    try:
        wait_until(ready, f"the answer of {program.url}")
        yield server
    finally:
        server.stop()


def broker_program(folder: Path, port: int) -> Program:
    """A broker of the kind asked for that keeps everything in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if ON_KAFKA:
        (node,) = cluster_nodes(folder, [(port, free_port())])
        command = kafka_command(kafka_jars(load_settings().cache), node)
    else:
        command = broker_command(port, folder / "broker")
    return Program(command, f"127.0.0.1:{port}", folder / "broker.log")


@contextmanager
def running_broker(folder: Path, port: int = 0) -> Iterator[str]:
    """Bootstrap servers of a broker of its own, on a free port if none is named."""
    program = broker_program(folder, port or free_port())
    with running_server(program, lambda: broker_answers(load_settings(broker=program.url))):
        yield program.url


def new_topic(settings: Settings, partitions: int) -> str:
    """The name of a topic of a test's own."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    client = admin(settings)
    client.create_topics([NewTopic(name, partitions, 1)])[name].result()
    return name


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
        # Also when the block failed: it may have waited for what the job did not do.
        if failures:
            raise failures[0]
    assert not thread.is_alive()


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
