"""The embedded broker as a process; what it promises to clients is in `test_broker_contract`."""

import signal
import subprocess
from pathlib import Path

import pytest

from infra.embedded_broker import broker_command
from infra.fetches import fetched_partitions
from infra.kafka import check_broker
from infra.settings import load_settings
from tests.running import Program, Server, free_port


def test_an_orphan_is_ended_and_an_orderly_end_leaves_no_error(tmp_path: Path) -> None:
    port = free_port()
    settings = load_settings(broker=f"127.0.0.1:{port}")
    program = Program(broker_command(port, tmp_path / "data"), settings.broker, tmp_path / "log")
    for ended_with in (signal.SIGKILL, signal.SIGTERM):
        server = Server(program)
        try:
            check_broker(settings, 30)
        finally:
            server.process.send_signal(ended_with)
            code = server.process.wait(30)
    assert code == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_taken_port_is_said(broker: str, tmp_path: Path) -> None:
    port = broker.rpartition(":")[2]
    program = Program(broker_command(int(port), tmp_path / "data"), broker, tmp_path / "log")
    assert Server(program).process.wait(30) != 0
    assert f"port {port} is taken; set HEADRACE_PORTS__BROKER" in (tmp_path / "log").read_text()
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="12"):
        fetched_partitions(b"", 12)
