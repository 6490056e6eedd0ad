"""The broker of the one-machine stack: a Kafka-protocol server that installs from PyPI.

All that Headrace knows of noida-db stands here. It keeps topics, offsets and transactions over an orderly
stop; killed with -9 it may lose its last seconds. It does not compact. For a laptop, a demo and tests; Apache
Kafka is for everything else.
"""

import subprocess
from importlib.resources import files
from pathlib import Path
from typing import IO


def broker_command(port: int, folder: Path) -> list[str]:
    """The command that runs the broker in the foreground on the loopback address."""
    # The package's own launcher leaves the server behind when it is told to stop; the server itself does not.
    program = Path(str(files("noida_db").joinpath("noida-db")))
    program.chmod(0o755)
    return [
        str(program),
        "start",
        "--only",
        "kafka",
        "--kafka-port",
        str(port),
        "--host",
        "127.0.0.1",
        "--data-dir",
        str(folder),
    ]


def start_broker(port: int, folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the broker as a child process; the caller stops it with `terminate()`."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        broker_command(port, folder), stdout=output, stderr=output, start_new_session=True
    )
