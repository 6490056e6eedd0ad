"""The Prefect server of the one-machine stack, and how every process of Headrace reaches the one in use.

Guarantee: the server listens on the loopback address only, keeps everything it writes under `HOME/prefect`
and sends nothing to anyone. Nothing here imports Prefect (that takes seconds): commands and environments
are data, and Prefect reads its own settings from the environment of the process it is imported in.
"""

import http.client
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO

from infra.errors import MissingPartError
from infra.settings import Settings

_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}


def prefect_folder(settings: Settings) -> Path:
    """Where the embedded server keeps its database and Prefect its profile."""
    return settings.home / "prefect"


def prefect_server_command(settings: Settings) -> list[str]:
    """The command that runs the server in the foreground; SIGTERM ends it in order.

    It needs the environment of `prefect_server_environment`, and the folder of `prefect_folder` to be there.
    """
    server = [sys.executable, "-m", "prefect", "server", "start", "--analytics-off", "--log-level", "WARNING"]
    return [*server, "--host", "127.0.0.1", "--port", str(settings.ports.prefect)]


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Environment variables with which a process is a client of the server in use.

    They have to be set before `prefect` is imported. A server of one's own (`HEADRACE_PREFECT_URL`) with
    authentication takes Prefect's own variables, such as `PREFECT_API_AUTH_STRING`, beside these.
    """
    return {
        "PREFECT_API_URL": f"{settings.prefect.rstrip('/')}/api",
        "PREFECT_HOME": str(prefect_folder(settings)),
        "PREFECT_LOGGING_LEVEL": _LEVELS[settings.log_level],
        "PREFECT_LOGGING_COLORS": "false",
        # Warnings of the plain functions show beside the flow's own lines in the UI.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,lake,ml",
        # The same functions called outside a flow log to the process only.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def prefect_server_environment(settings: Settings) -> dict[str, str]:
    """Environment variables of the server process; they come on top of the client's."""
    folder = prefect_folder(settings)
    return prefect_environment(settings) | {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_MEMO_STORE_PATH": str(folder / "memo_store.toml"),
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{settings.ports.prefect}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The server's own lines are uvicorn's and its services'; a healthy one says nothing.
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def start_prefect_server(settings: Settings, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server as a child process that logs to `output`; the caller stops it with `terminate()`."""
    # SQLite makes its file, not the folder that it lies in.
    prefect_folder(settings).mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        prefect_server_command(settings),
        env={**os.environ, **prefect_server_environment(settings)},
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def prefect_is_ready(settings: Settings, timeout_s: float = 2.0) -> bool:
    """Whether the server in use answers and says that it is healthy."""
    try:
        with urllib.request.urlopen(
            f"{settings.prefect.rstrip('/')}/api/health", timeout=timeout_s
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def wait_for_prefect(settings: Settings, timeout_s: float = 120.0) -> None:
    """Wait until the server in use answers; it takes 12 to 30 seconds to boot.

    Raises:
        MissingPartError: It does not answer within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not prefect_is_ready(settings):
        if time.monotonic() > deadline:
            raise MissingPartError(
                f"Expected a Prefect server at {settings.prefect}, found none after {timeout_s:.0f} s; "
                "start it with `headrace up` or set HEADRACE_PREFECT_URL"
            )
        time.sleep(0.25)
