"""The broker of the one-machine stack: a Kafka-protocol server that installs from PyPI.

What Headrace knows of noida-db stands here and in `infra.broker_front`. It keeps topics, offsets and transactions
over an orderly stop; killed with -9 it may lose its last seconds. It does not compact. For a laptop, a demo and
tests; Apache Kafka is for everything else.
"""

import asyncio
import contextlib
import errno
import signal
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Literal

from infra.broker_front import HOST, BrokerFront
from infra.errors import FaultError, MissingPartError

START_S_MAX = 30.0
STOP_S_MAX = 30.0


def broker_command(port: int, folder: Path) -> list[str]:
    """The command that runs the broker in the foreground, see `run_broker`."""
    program = f"from infra.embedded_broker import *\nrun_broker({port}, Path({str(folder)!r}))"
    return [sys.executable, "-c", program]


def run_broker(port: int, folder: Path) -> None:
    """Run the broker in the foreground until SIGTERM or SIGINT.

    Args:
        port: Port on the loopback address that clients are served on.
        folder: Where it keeps its data; made if it is not there.

    Raises:
        MissingPartError: The port is taken, or the server does not start.
        FaultError: The server ended by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(port, folder))


async def _run(port: int, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # The package's own launcher leaves the server behind when it is told to stop; the server itself does not.
    program = Path(str(files("noida_db").joinpath("noida-db")))
    program.chmod(0o755)
    # One that was left behind by a broker killed with -9 holds the folder.
    left = await asyncio.create_subprocess_exec(
        program, "down", "--data-dir", folder, stdout=subprocess.DEVNULL
    )
    await left.wait()
    own_port = _free_port()
    options = ["--only", "kafka", "--kafka-port", str(own_port), "--host", HOST, "--data-dir", str(folder)]
    server = await asyncio.create_subprocess_exec(program, "start", *options, start_new_session=True)
    ended = asyncio.ensure_future(server.wait())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await _until_it_answers(own_port, ended, stopped)
        front = await BrokerFront(port, own_port).serve()
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        front.close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise MissingPartError(
            f"port {port} is taken; set HEADRACE_PORTS__BROKER to a free one, or HEADRACE_BROKER to the "
            "Kafka broker that has it"
        ) from error
    finally:
        if not ended.done():
            server.terminate()
            async with asyncio.timeout(STOP_S_MAX):
                await ended
    if not stopped.done():
        raise FaultError(f"noida-db ended with exit code {server.returncode}; its data lies in {folder}")


async def _until_it_answers(port: int, *ends: asyncio.Future[int] | asyncio.Future[Literal[True]]) -> None:
    try:
        async with asyncio.timeout(START_S_MAX):
            while not any(end.done() for end in ends):
                with contextlib.suppress(ConnectionRefusedError):
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise MissingPartError(f"noida-db does not answer within {START_S_MAX:g} s") from error


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
