"""An installation on an Apache Kafka and a MinIO of its own, with everything between them that can go wrong.

The jobs reach Kafka through a relay, and MinIO through a relay and an HTTP proxy; both servers keep their data on a
disk of their own where one can be had, and each job has a clock of its own where one can be built.
"""

import os
import signal
import subprocess
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from cli.parts import JOBS as PARTS
from cli.parts import stack_parts
from infra.kafka import broker_answers
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.settings import PortSettings, load_settings, settings_environment
from infra.supervised import Part, Supervisor
from schemas import catalogue
from tests import s3
from tests.faults.clock import StepClock, built_clock, no_compiler
from tests.faults.disk import SmallDisk, cannot_mount
from tests.fronts.relay import Relay
from tests.fronts.s3 import S3Front, s3_front
from tests.running import Program, Server, free_port, wait_until

JOBS = tuple(name for name in PARTS if name not in ("flows", "http", "inbox"))
"""The stream jobs."""
METRICS_PORT = 28300
HURRIED = {
    "HEADRACE_INGEST__CHUNK_ROWS": "3000",
    "HEADRACE_STREAM__BATCH_ROWS_MAX": "2000",
    "HEADRACE_STREAM__TRANSACTION_ROWS_MAX": "4000",
    "HEADRACE_STREAM__FLUSH_S_MAX": "2",
    "HEADRACE_STREAM__SNAPSHOT_S": "15",
    "HEADRACE_STREAM__WINDOW_UPDATE_S": "1",
}
"""Settings under which jobs commit often, so that many faults meet a commit."""


class Installation:
    """Servers, what stands before them, and supervised jobs.

    Args:
        folder: Where everything is kept.
        stack: Ends what is started here.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.left_out: dict[str, str] = {}
        self._disks: dict[str, SmallDisk] = {}
        if reason := cannot_mount():
            self.left_out["disk_full"] = reason
        self.kafka, self.kafka_relay = self._kafka(stack)
        self.minio, self.store, self.s3_relay, self.s3_front = self._minio(stack)
        lake = s3.S3Server(f"http://127.0.0.1:{self.s3_relay.port}").settings()
        self.settings = load_settings(
            home=folder / "home",
            broker=f"127.0.0.1:{self.kafka_relay.port}",
            lake=lake.lake,
            s3=lake.s3,
            ports=PortSettings(registry=free_port(), metrics=METRICS_PORT),
        )
        wait_until(lambda: broker_answers(self.settings), "Kafka's answer")
        self.clocks = self._clocks()
        self.supervisor = Supervisor(self.settings.home)
        self._environment = {**settings_environment(self.settings), **HURRIED}
        self._parts = {part.part.name: part for part in stack_parts(self.settings)}
        self._start(stack)

    def disk_of(self, server: str) -> SmallDisk:
        """The disk of a server."""
        return self._disks[server]

    def _disk(self, server: str, folder: Path, stack: ExitStack) -> None:
        if "disk_full" not in self.left_out:
            self._disks[server] = SmallDisk(folder)
            stack.callback(self._disks[server].close)

    def _kafka(self, stack: ExitStack) -> tuple[Server, Relay]:
        folder = self.folder / "kafka"
        self._disk("Kafka", folder, stack)
        folder.mkdir(exist_ok=True)
        relay_port, port, between = free_port(), free_port(), free_port()
        (node,) = cluster_nodes(folder, [(port, free_port())])
        (controller,) = node.controllers.values()
        # Clients are told the relay's address; what the broker tells itself goes by another way.
        behind_relay = {
            "listeners": f"CLIENTS://127.0.0.1:{port},BROKERS://127.0.0.1:{between},"
            f"CONTROLLERS://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{relay_port},BROKERS://127.0.0.1:{between}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLERS:PLAINTEXT",
            "inter.broker.listener.name": "BROKERS",
        }
        command = kafka_command(kafka_jars(load_settings().cache), replace(node, security=behind_relay))
        server = Server(Program(command, f"127.0.0.1:{relay_port}", self.folder / "kafka.log"))
        stack.callback(server.kill)
        relay = Relay(relay_port, port, frames=True)
        stack.callback(relay.close)
        return server, relay

    def _minio(self, stack: ExitStack) -> tuple[Server, s3.S3Server, Relay, S3Front]:
        folder = self.folder / "s3"
        self._disk("MinIO", folder, stack)
        program = replace(s3.s3_program(folder, free_port()), log=self.folder / "s3.log")
        server = Server(program)
        stack.callback(server.kill)
        store = s3.S3Server(program.url)
        wait_until(store.has_bucket, "MinIO's answer")
        front = stack.enter_context(s3_front(store))
        relay = Relay(free_port(), front.port)
        stack.callback(relay.close)
        return server, store, relay, front

    def _clocks(self) -> dict[str, StepClock]:
        if reason := no_compiler():
            self.left_out["clock_step"] = reason
            return {}
        library = built_clock(self.folder)
        return {name: StepClock(library, self.folder / f"clock-{name}") for name in JOBS}

    def _start(self, stack: ExitStack) -> None:
        self.supervisor.start([self._part(name) for name in ("registry", *JOBS)], self._environment)
        stack.callback(self.supervisor.stop)
        self.supervisor.start_part("registry")
        wait_until(self._parts["registry"].is_ready, "the registry")
        catalogue.apply(self.settings)
        for name in JOBS:
            self.supervisor.start_part(name)
        for name in JOBS:
            wait_until(self._parts[name].is_ready, name)

    def _part(self, name: str) -> Part:
        part = self._parts[name].part
        clock = self.clocks.get(name)
        if clock is None:
            return part
        variables = [f"{variable}={value}" for variable, value in clock.variables.items()]
        return replace(part, command=("/usr/bin/env", *variables, *part.command))

    def second(self, name: str, worker: str) -> "subprocess.Popen[bytes]":
        """Start a job's process once more, beside the supervised one, and wait until it works or has ended.

        Args:
            name: The job.
            worker: Name of the worker; that of the first is 0.
        """
        *command, _ = self._parts[name].part.command
        port = free_port()
        environment = {**os.environ, **self._environment, "HEADRACE_STREAM__WORKER": worker}
        with (self.settings.home / "logs" / f"second-{name}.log").open("ab") as output:
            process = subprocess.Popen([*command, str(port)], env=environment, stdout=output, stderr=output)
        wait_until(lambda: process.poll() is not None or is_ready(port), f"a second {name}")
        return process

    def kill(self, name: str) -> None:
        """Kill the process of a part; its supervisor starts it again."""
        while True:
            with suppress(ProcessLookupError):
                os.kill(self.pid(name), signal.SIGKILL)
                return

    def pause(self, name: str) -> int:
        """Stop the process of a part until it is sent SIGCONT; the answer is its id."""
        while True:
            pid = self.pid(name)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if _lives(pid):
                    return pid

    def pid(self, name: str) -> int:
        """The process of a part, waited for while it is being started again."""
        found = [0]

        def runs() -> bool:
            (state,) = [state for state in self.supervisor.states() if state.name == name]
            if state.given_up:
                raise AssertionError(f"the supervisor has given up {name}: {state.detail}")
            found[0] = state.pid
            return state.pid > 0 and _lives(state.pid)

        wait_until(runs, f"the process of {name}")
        return found[0]


def is_ready(port: int) -> bool:
    """Whether the job that serves its metrics there says that it works."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1.0) as answer:
            return b"\nheadrace_ready 1.0" in answer.read()
    except OSError:
        return False


def _lives(pid: int) -> bool:
    """Whether a process is there; one that was killed a moment ago may still be known to its supervisor."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip()[:1] not in ("", "Z")
