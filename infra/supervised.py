"""Runs the parts of the one-machine stack as supervised processes, by supervisord.

A part that ends is started again; one that keeps failing is given up and says so in `states`. Guarantee:
`stop` returns only when every part has ended, in the opposite order of their start.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from infra.errors import MissingPartError

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 60.0
PART_STOP_S = 30


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack.

    Args:
        name: Its name in status and logs.
        command: Program and arguments.
        order: Parts of a lower order stop later; those of the same order stop together.
        alone: Whether it may come and go while the others run; it then stops before those of its order.
    """

    name: str
    command: Sequence[str]
    order: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class PartState:
    """What the supervisor says of a part: its state in supervisord's words, and since when."""

    name: str
    state: str
    detail: str
    pid: int

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.state in {"RUNNING", "STARTING"}

    @property
    def given_up(self) -> bool:
        """Whether the supervisor no longer starts it."""
        return self.state == "FATAL"


class Supervisor:
    """The supervisor of one installation; each folder `home` has its own.

    Args:
        home: Folder that keeps configuration, logs and the pid file.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.logs = home / "logs"
        # A socket's path may have about a hundred characters, a home folder more.
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        self._socket = Path(gettempdir()) / f"headrace-{os.getuid()}-{digest}.sock"
        self._pid_file = home / "supervisord.pid"

    @property
    def runs(self) -> bool:
        """Whether the supervisor answers."""
        try:
            self._call("getState")
        except MissingPartError:
            return False
        return True

    def start(self, parts: Sequence[Part], environment: Mapping[str, str] | None = None) -> None:
        """Start the supervisor with these parts, none of them running yet; they inherit this environment.

        Args:
            parts: The processes.
            environment: Further variables for all of them.

        Raises:
            MissingPartError: supervisord did not come up; the text holds what it said.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configured(parts))]
        done = subprocess.run(
            command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise MissingPartError(f"supervisord did not start: {done.stderr.strip() or done.stdout.strip()}")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.runs:
            if time.monotonic() > deadline:
                raise MissingPartError(
                    f"supervisord did not answer within {START_TIMEOUT_S:g} s; see {self.logs}"
                )
            time.sleep(0.1)

    def change(self, parts: Sequence[Part]) -> None:
        """Of the parts that come and go alone, stop those that are not among these and make the others known.

        Raises:
            MissingPartError: No supervisor runs for this home.
        """
        self._configured(parts)
        ((added, _, removed),) = self._call("reloadConfig")
        for name in removed:
            self._call("stopProcessGroup", name, True)
            self._call("removeProcessGroup", name)
        for name in added:
            self._call("addProcessGroup", name)

    def _configured(self, parts: Sequence[Part]) -> Path:
        config = self.home / "supervisord.conf"
        config.write_text(self._config(parts))
        config.chmod(0o600)
        return config

    def start_part(self, name: str) -> None:
        """Start one part and return at once.

        Raises:
            MissingPartError: There is no such part, or its program cannot be run.
        """
        try:
            self._call("startProcess", self._full_name(name), False)
        except Fault as fault:
            if "ALREADY_STARTED" not in str(fault.faultString):
                raise MissingPartError(
                    f"{name} cannot be started: {fault.faultString}; see {self.log(name)}"
                ) from fault

    def stop_part(self, name: str) -> None:
        """Stop one part and wait for its end.

        Raises:
            MissingPartError: There is no such part.
        """
        try:
            self._call("stopProcess", self._full_name(name), True)
        except Fault as fault:
            if "NOT_RUNNING" not in str(fault.faultString):
                raise MissingPartError(f"{name} cannot be stopped: {fault.faultString}") from fault

    def states(self) -> list[PartState]:
        """The state of every part, in the order of their names.

        Raises:
            MissingPartError: No supervisor runs for this home.
        """
        return [
            PartState(item["name"], item["statename"], item["description"] or item["spawnerr"], item["pid"])
            for item in self._call("getAllProcessInfo")
        ]

    def log(self, name: str) -> Path:
        """The file that a part's output goes to."""
        return self.logs / f"{name}.log"

    def stop(self) -> None:
        """Stop every part and the supervisor itself, and wait until all have ended.

        Raises:
            MissingPartError: No supervisor runs, or a part would not end.
        """
        pid = int(self._call("getPID"))
        self._call("shutdown")
        deadline = time.monotonic() + STOP_TIMEOUT_S + PART_STOP_S
        while _alive(pid):
            if time.monotonic() > deadline:
                raise MissingPartError(f"supervisord (process {pid}) does not end; see {self.logs}")
            time.sleep(0.1)

    def _full_name(self, name: str) -> str:
        """The name by which supervisord knows a part: with its group, which is its order."""
        for item in self._call("getAllProcessInfo"):
            if item["name"] == name:
                return f"{item['group']}:{name}"
        raise MissingPartError(f"there is no part {name!r} in the stack of {self.home}")

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            # The address is never used: the transport goes through the socket.
            return getattr(ServerProxy("http://127.0.0.1", transport=transport).supervisor, method)(
                *arguments
            )
        except (OSError, ConnectionError) as error:
            raise MissingPartError(f"nothing runs for {self.home}: start it with `headrace up`") from error
        finally:
            transport.close()

    def _config(self, parts: Sequence[Part]) -> str:
        lines = [
            "[unix_http_server]", f"file={_escaped(str(self._socket))}", "chmod=0700", "",
            "[supervisord]", f"logfile={_escaped(str(self.logs / 'supervisord.log'))}", "loglevel=warn",
            f"pidfile={_escaped(str(self._pid_file))}", f"childlogdir={_escaped(str(self.logs))}", "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface", "",
        ]  # fmt: skip
        for part in parts:
            lines += [
                f"[program:{part.name}]",
                f"command={_escaped(' '.join(_quoted(word) for word in part.command))}",
                f"directory={_escaped(str(Path.cwd()))}",
                "autostart=false", "autorestart=true", "startsecs=2", "startretries=8",
                "stopsignal=TERM", f"stopwaitsecs={PART_STOP_S}", "stopasgroup=false", "killasgroup=true",
                "redirect_stderr=true", f"stdout_logfile={_escaped(str(self.log(part.name)))}",
                "stdout_logfile_maxbytes=20MB", "stdout_logfile_backups=2", "",
            ]  # fmt: skip
        for part in parts:
            if part.alone:
                lines += [f"[group:{part.name}]", f"programs={part.name}", f"priority={part.order}", ""]
        for order in sorted({part.order for part in parts}):
            names = ",".join(part.name for part in parts if part.order == order and not part.alone)
            lines += [f"[group:order{order}]", f"programs={names}", f"priority={order}", ""]
        return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text for supervisord's configuration, which expands `%`."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie has ended; only its parent has not yet asked.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
