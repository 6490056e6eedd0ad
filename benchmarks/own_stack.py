"""A stack that a benchmark has for itself, in a folder of its own and on ports of its own."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.parts import BROKER, REGISTRY, stack_parts
from infra.errors import UnavailableError
from infra.kafka import broker_answers
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.settings import Settings, load_settings
from infra.supervised import Supervisor
from schemas import catalogue

READY_S_MAX = 120.0


def own_settings(folder: Path) -> Settings:
    """Settings of a stack in this folder, on free ports; its parts read them from the environment."""
    os.environ["HEADRACE_HOME"] = str(folder)
    for name in ("BROKER", "REGISTRY", "PREFECT", "HTTP"):
        os.environ[f"HEADRACE_PORTS__{name}"] = str(_free_port())
    os.environ["HEADRACE_PORTS__METRICS"] = "28100"
    os.environ.setdefault("HEADRACE_STREAM__FLUSH_S_MAX", "10")
    return load_settings()


@contextmanager
def running_kafka(folder: Path) -> Iterator[None]:
    """Apache Kafka in a folder; settings that are read in the block name it as the broker."""
    port = _free_port()
    (node,) = cluster_nodes(folder, [(port, _free_port())])
    command = kafka_command(kafka_jars(load_settings().cache), node)
    os.environ["HEADRACE_BROKER"] = f"127.0.0.1:{port}"
    with (folder / "kafka.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        await_true(lambda: broker_answers(load_settings()), "Apache Kafka")
        yield
    finally:
        del os.environ["HEADRACE_BROKER"]
        process.terminate()
        process.wait(60)


@contextmanager
def running_parts(settings: Settings, jobs: Sequence[str]) -> Iterator[Supervisor]:
    """The broker, the registry with the catalogue's topics, and some jobs, supervised.

    Args:
        settings: From `own_settings`.
        jobs: Names of the jobs, as in `cli.parts.JOBS`.
    """
    parts = {part.part.name: part for part in stack_parts(settings)}
    servers = [name for name in (BROKER, REGISTRY) if name in parts]
    supervisor = Supervisor(settings.home)
    supervisor.start([parts[name].part for name in (*servers, *jobs)])
    try:
        for name in servers:
            supervisor.start_part(name)
            await_true(parts[name].is_ready, name)
        catalogue.apply(settings)
        for name in jobs:
            supervisor.start_part(name)
        for name in jobs:
            await_true(parts[name].is_ready, name)
        yield supervisor
    finally:
        supervisor.stop()


def await_true(true: Callable[[], bool], what: str, seconds_max: float = READY_S_MAX) -> None:
    """Wait until something holds.

    Raises:
        UnavailableError: It did not come about in time.
    """
    deadline = time.monotonic() + seconds_max
    while not true():
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what} did not come about within {seconds_max:g} s")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
