"""What each kind of fault does to an installation, and how it ends."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from tests.faults.installation import Installation
from tests.faults.plan import KAFKA, MINIO, REGISTRY, Fault
from tests.fronts.relay import Relay
from tests.running import Server

COMMIT_S_MAX = 30.0
"""Longest wait for a commit that something shall happen to."""
END_S_MAX = 60.0
BOTH_S = 3.0
TRANSACTIONAL_IDS = {
    "validate": "validate-0",
    "ingest-sales": "ingest-sales",
    "ingest-master": "ingest-locations",
    "report": "report",
    "window": "window-0",
}


class Wrecker:
    """Does faults, one after the other, and counts them.

    Args:
        place: What they are done to.
        say: Told of each.

    Attributes:
        done: Faults by kind.
        kills: Processes killed with -9.
    """

    def __init__(self, place: Installation, say: Callable[[str], None]) -> None:
        self._place = place
        self._say = say
        self.done = Counter[str]()
        self.kills = 0
        self._by_kind: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "taken_over": self._taken_over,
            "namesake": self._namesake,
            "cut": self._cut,
            "silent": self._silent,
            "disk_full": self._disk_full,
            "s3_refuses": self._s3_refuses,
            "s3_slow": self._s3_slow,
            "s3_answers_lost": self._s3_answers_lost,
            "registry_away": self._registry_away,
            "clock_step": self._clock_step,
            "commit_cut": self._commit,
            "commit_killed": self._commit,
            "commit_unknown": self._commit,
        }

    def do(self, fault: Fault) -> None:
        """Wait for its time, do it, and end it."""
        time.sleep(fault.after_s)
        amount = f", {fault.amount:g}" if fault.amount else ""
        self._say(f"{fault.kind} {fault.target} for {fault.for_s:.1f} s{amount}")
        self.done[fault.kind] += 1
        self._by_kind[fault.kind](fault)

    def _kill(self, fault: Fault) -> None:
        if fault.target in (KAFKA, MINIO):
            server = self._server(fault.target)
            server.kill()
            time.sleep(fault.for_s)
            server.start()
        else:
            self._place.kill(fault.target)
        self.kills += 1

    def _taken_over(self, fault: Fault) -> None:
        """A worker is silent for so long that its group gives its work to another, and then wakes up."""
        second = self._place.second(fault.target, "1")
        pid = self._place.pause(fault.target)
        time.sleep(fault.for_s)
        self._wake(pid, fault.target, second)

    def _namesake(self, fault: Fault) -> None:
        """A worker is silent while another takes its very name, and then wakes up."""
        pid = self._place.pause(fault.target)
        second = self._place.second(fault.target, "0")
        time.sleep(fault.for_s)
        self._wake(pid, fault.target, second)

    def _wake(self, pid: int, job: str, second: "subprocess.Popen[bytes]") -> None:
        """Let the first go on, so that two believe that the work is theirs, and end the second in order."""
        os.kill(pid, signal.SIGCONT)
        time.sleep(BOTH_S)
        second.terminate()
        try:
            second.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            second.kill()
            raise AssertionError(f"a second {job} does not end within {END_S_MAX:g} s") from None

    def _cut(self, fault: Fault) -> None:
        ends = time.monotonic() + fault.for_s
        while time.monotonic() < ends:
            self._relay(fault.target).cut()
            time.sleep(0.3)

    def _silent(self, fault: Fault) -> None:
        with self._relay(fault.target).silent():
            time.sleep(fault.for_s)

    def _disk_full(self, fault: Fault) -> None:
        with self._place.disk_of(fault.target).full():
            time.sleep(fault.for_s)
        server = self._server(fault.target)
        # Kafka ends itself when it cannot write.
        if server.process.poll() is not None:
            server.start()

    def _s3_refuses(self, fault: Fault) -> None:
        self._place.s3_front.status = int(fault.amount)
        time.sleep(fault.for_s)
        self._place.s3_front.status = 0

    def _s3_slow(self, fault: Fault) -> None:
        self._place.s3_front.delay_s = fault.amount
        time.sleep(fault.for_s)
        self._place.s3_front.delay_s = 0.0

    def _s3_answers_lost(self, fault: Fault) -> None:
        self._place.s3_front.lost = int(fault.amount)
        time.sleep(fault.for_s)

    def _registry_away(self, fault: Fault) -> None:
        self._place.supervisor.stop_part(REGISTRY)
        time.sleep(fault.for_s)
        self._place.supervisor.start_part(REGISTRY)

    def _clock_step(self, fault: Fault) -> None:
        with self._place.clocks[fault.target].ahead(fault.amount):
            time.sleep(fault.for_s)

    def _commit(self, fault: Fault) -> None:
        """Cut the connections while a commit is under way; before the broker gets it, or before the answer."""
        with ExitStack() as stack:
            relay = self._place.kafka_relay
            writer = TRANSACTIONAL_IDS[fault.target]
            caught = stack.enter_context(relay.ambush(writer, passes=bool(fault.amount)))
            if not caught.wait(COMMIT_S_MAX):
                self._say(f"no commit of {writer} came within {COMMIT_S_MAX:g} s; this one does not count")
                self.done[fault.kind] -= 1
                return
            if fault.kind == "commit_killed":
                self._place.kill(fault.target)
                self.kills += 1
            time.sleep(fault.for_s)

    def _server(self, name: str) -> Server:
        return {KAFKA: self._place.kafka, MINIO: self._place.minio}[name]

    def _relay(self, name: str) -> Relay:
        return {KAFKA: self._place.kafka_relay, MINIO: self._place.s3_relay}[name]
