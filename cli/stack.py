"""Starts, stops and watches the one-machine stack."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cli.admission import admitted_to_lake
from cli.own_token import own_token
from cli.parts import BROKER, REGISTRY, StackPart, stack_parts, workers_of
from infra.blobs import open_store
from infra.errors import MissingPartError
from infra.kafka import check_broker
from infra.settings import Settings
from infra.supervised import PartState, Supervisor
from schemas import catalogue
from serving.token_store import TokenStore

READY_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class PartView:
    """What a person is told of a part."""

    name: str
    state: str
    ready: bool
    detail: str
    url: str


class Stack:
    """The parts of one installation.

    Args:
        settings: Says which parts it runs, and where.
        workers: How many workers jobs shall have; the others have those that run, and one if none does.

    Attributes:
        supervisor: Who starts and stops them.
        parts: The parts, in the order of their start.
    """

    def __init__(self, settings: Settings, workers: Mapping[str, int] | None = None) -> None:
        self._settings = settings
        self.supervisor = Supervisor(settings.home)
        running = workers_of(state.name for state in self.supervisor.states()) if self.runs else {}
        self.parts = stack_parts(settings, {**running, **(workers or {})})

    @property
    def runs(self) -> bool:
        """Whether the supervisor of this installation is there."""
        return self.supervisor.runs

    def up(self, on_ready: Callable[[str], None], timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start what does not run and wait until every part takes work.

        Args:
            on_ready: Told the name of each part as it becomes ready.
            timeout_s: Longest wait for all of them.

        Raises:
            SettingError: Brokers or lake that stand elsewhere refuse this installation.
            MissingPartError: A port is taken, or a part does not come up; the text says which, and the last
                lines of its log.
        """
        if self._settings.broker:
            check_broker(self._settings)
        admitted_to_lake(self._settings)
        own_token(self._settings, TokenStore(open_store(self._settings)))
        if not self.runs:
            for part in self.parts:
                check_port(part)
            elsewhere = {"HEADRACE_BROKER": self._settings.broker, "HEADRACE_LAKE": self._settings.lake}
            self.supervisor.start([part.part for part in self.parts], elsewhere)
        else:
            self.supervisor.change([part.part for part in self.parts])
        deadline = time.monotonic() + timeout_s
        first = [part for part in self.parts if part.part.name == BROKER]
        second = [part for part in self.parts if part.part.name == REGISTRY]
        for part in self.parts:
            if part.part.order <= 2 and part not in second:
                self.supervisor.start_part(part.part.name)
        self._await(first, deadline, on_ready)
        for part in second:
            self.supervisor.start_part(part.part.name)
        self._await(second, deadline, on_ready)
        catalogue.apply(self._settings)
        rest = [part for part in self.parts if part not in first and part not in second]
        for part in rest:
            self.supervisor.start_part(part.part.name)
        self._await(rest, deadline, on_ready)

    def down(self) -> None:
        """Stop every part, the jobs before the servers they need, and wait until all have ended.

        Raises:
            MissingPartError: Nothing runs, or a part would not end.
        """
        self.supervisor.stop()

    def views(self) -> Iterator[PartView]:
        """What each part is doing.

        Raises:
            MissingPartError: Nothing runs.
        """
        states = {state.name: state for state in self.supervisor.states()}
        for part in self.parts:
            state = states.get(part.part.name) or PartState(part.part.name, "UNKNOWN", "not in this stack", 0)
            yield PartView(
                state.name, state.state.lower(), state.runs and part.is_ready(), state.detail, part.url
            )

    def _await(self, parts: list[StackPart], deadline: float, on_ready: Callable[[str], None]) -> None:
        waiting = list(parts)
        while waiting:
            states = {state.name: state for state in self.supervisor.states()}
            for part in list(waiting):
                name = part.part.name
                if states[name].runs and part.is_ready():
                    waiting.remove(part)
                    on_ready(name)
                elif states[name].given_up or time.monotonic() > deadline:
                    words = _last_words(self.supervisor, name)
                    raise MissingPartError(f"{name} did not come up ({states[name].detail}); {words}")
            time.sleep(0.1)


def check_port(part: StackPart) -> None:
    """Make sure that a part can listen on its port.

    Raises:
        MissingPartError: Somebody else does.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", part.port))
        except OSError as error:
            raise MissingPartError(
                f"port {part.port} for {part.part.name} cannot be had: {error.strerror}. "
                f"Stop what listens there, or set {part.setting} to a free port."
            ) from error


def _last_words(supervisor: Supervisor, name: str) -> str:
    log = supervisor.log(name)
    lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
    return "\n  ".join([f"its log {log} ends with:", *lines]) if lines else f"its log {log} is empty"
