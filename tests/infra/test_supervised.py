"""The supervisor with real processes."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import MissingPartError
from infra.supervised import Part, PartState, Supervisor

SLEEPER = "import sys, time; print('started', flush=True); time.sleep(600)"


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def state(supervisor: Supervisor, name: str) -> PartState:
    return next(found for found in supervisor.states() if found.name == name)


def test_a_killed_part_is_started_again_and_stop_ends_all(home: Path) -> None:
    supervisor = Supervisor(home)
    supervisor.start(
        [
            Part("sleeper", [sys.executable, "-c", SLEEPER], 1),
            Part("failing", [sys.executable, "-c", "raise SystemExit('100 % broken')"], 2),
        ]
    )
    try:
        assert not state(supervisor, "sleeper").runs
        supervisor.start_part("sleeper")
        supervisor.start_part("failing")
        wait_for(lambda: state(supervisor, "sleeper").state == "RUNNING")
        first = state(supervisor, "sleeper").pid
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: state(supervisor, "sleeper").pid not in {0, first})
        assert "started" in supervisor.log("sleeper").read_text()
        assert state(supervisor, "failing").state != "RUNNING"
        assert "100 % broken" in supervisor.log("failing").read_text()
        supervisor.stop_part("sleeper")
        assert not state(supervisor, "sleeper").runs
        supervisor.start_part("sleeper")
        last = state(supervisor, "sleeper").pid
    finally:
        supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    assert not supervisor.runs


def test_arguments_arrive_as_they_were_given(home: Path) -> None:
    supervisor = Supervisor(home)
    text = "a b, \"c\" %d 'e' \\f"
    program = "import sys; print(sys.argv[1], '|', flush=True); import time; time.sleep(9)"
    supervisor.start([Part("echo", [sys.executable, "-c", program, text], 1)])
    try:
        supervisor.start_part("echo")
        wait_for(lambda: supervisor.log("echo").exists() and "|" in supervisor.log("echo").read_text())
        assert supervisor.log("echo").read_text().strip() == f"{text} |"
    finally:
        supervisor.stop()


def test_a_part_that_is_not_there_is_named(home: Path) -> None:
    supervisor = Supervisor(home)
    supervisor.start([Part("sleeper", [sys.executable, "-c", SLEEPER], 1)])
    try:
        with pytest.raises(MissingPartError, match="sleepwalker"):
            supervisor.start_part("sleepwalker")
    finally:
        supervisor.stop()


def test_without_a_supervisor_the_answer_says_how_to_start_one(home: Path) -> None:
    with pytest.raises(MissingPartError, match="headrace up"):
        Supervisor(home).states()


def test_parts_that_stand_alone_come_and_go_while_the_others_run(home: Path) -> None:
    def sleeper(name: str, *, alone: bool = False) -> Part:
        return Part(name, [sys.executable, "-c", SLEEPER], 1, alone)

    supervisor = Supervisor(home)
    supervisor.start([sleeper("first"), sleeper("second", alone=True)])
    try:
        for name in ("first", "second"):
            supervisor.start_part(name)
            wait_for(lambda name=name: state(supervisor, name).runs)  # type: ignore[misc]
        first, second = state(supervisor, "first").pid, state(supervisor, "second").pid
        supervisor.change([sleeper("first"), sleeper("third", alone=True)])
        supervisor.start_part("third")
        wait_for(lambda: state(supervisor, "third").runs)
        assert [found.name for found in supervisor.states()] == ["first", "third"]
        assert state(supervisor, "first").pid == first
        with pytest.raises(ProcessLookupError):
            os.kill(second, 0)
    finally:
        supervisor.stop()
