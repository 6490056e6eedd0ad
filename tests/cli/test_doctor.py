"""The doctor: every fault that it looks for is planted, found, and told with what to do."""

import datetime as dt
import http.server
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import httpx
import pytest

from cli.doctor import machine, schedules, servers
from cli.doctor.command import looked_over
from cli.doctor.finding import Finding, guarded
from cli.parts import stack_parts
from cli.stack import PartView
from infra.blobs import open_store
from infra.settings import FlowSettings, PortSettings, Settings, load_settings
from schemas import catalogue
from tests.cli.commands import headrace
from tests.fronts.s3 import s3_front
from tests.running import free_port
from tests.s3 import S3Server
from tests.schemas.running import running_registry

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)


def troubles(found: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in found if not finding.good]


def test_an_installation_of_which_nothing_runs_is_well(offline_settings: Settings) -> None:
    found = list(looked_over(offline_settings))
    assert troubles(found) == []
    assert {finding.what for finding in found} >= {"versions", "disk", "ports", "schedule", "lake", "parts"}


def test_a_library_of_another_version_or_that_is_missing_is_found() -> None:
    def installed(name: str) -> str:
        if name == "gone":
            raise PackageNotFoundError(name)
        return "3.8.8"

    wanted = ["prefect==3.8.8", "polars>=4", "gone>=1", "elsewhere>=9; sys_platform == 'win32'"]
    old, missing = troubles(machine.versions(wanted, installed))
    assert "polars 3.8.8, expected >=4" in old.found
    assert "gone is not installed" in missing.found
    assert "requirements/runtime.txt" in old.remedy


def test_passwords_that_others_may_read_are_found(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert list(machine.secrets(file)) == []
    file.write_text("HEADRACE_S3__SECRET_KEY=abc\n")
    file.chmod(0o644)
    (found,) = troubles(machine.secrets(file))
    assert "644" in found.found
    assert found.remedy == f"chmod 600 {file}"
    file.chmod(0o600)
    assert troubles(machine.secrets(file)) == []
    file.write_text("HEADRACE_S3__SECRET_KEY=\nHEADRACE_LOG_LEVEL=info\n")
    file.chmod(0o644)
    assert troubles(machine.secrets(file)) == []


def test_a_disk_without_room_is_found(tmp_path: Path) -> None:
    assert troubles(machine.disk([tmp_path / "not" / "yet"], free_bytes_min=0)) == []
    (found,) = troubles(machine.disk([tmp_path], free_bytes_min=2**80))
    assert "headrace lake expire" in found.remedy


def test_a_port_that_is_taken_or_set_twice_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = int(listener.getsockname()[1])
        free = free_port()
        settings = load_settings(ports=PortSettings(broker=taken, registry=free, prefect=free))
        twice, held = troubles(machine.ports(stack_parts(settings), runs=False))
        assert f"port {free} is set for registry and prefect" in twice.found
        assert "HEADRACE_PORTS__PREFECT" in twice.remedy
        assert f"port {taken} for broker" in held.found
        assert "HEADRACE_PORTS__BROKER" in held.remedy
        assert troubles(machine.ports(stack_parts(settings), runs=True)) == [twice]


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("30 4 * * *", "Mars/Base", "no time zone"),
        ("30 4 * *", "UTC", "no schedule"),
        ("0 0 30 2 *", "UTC", "no schedule"),
        ("0 0 1 6 *", "UTC", "has run out"),
    ],
)
def test_a_schedule_that_would_never_or_too_seldom_run_is_found(cron: str, zone: str, words: str) -> None:
    (found,) = troubles(schedules.schedule(FlowSettings(cron=cron, time_zone=zone), NOW))
    assert words in found.found
    assert "HEADRACE_FLOW__" in found.remedy
    assert troubles(schedules.schedule(FlowSettings(), NOW)) == []


def test_a_part_that_does_not_come_up_is_found() -> None:
    views = [
        PartView("join", "running", True, "", ""),
        PartView("sink", "fatal", False, "exited too quickly", ""),
    ]
    (found,) = troubles(servers.parts(views))
    assert "sink is fatal" in found.found
    assert "headrace logs sink" in found.remedy


def test_a_port_where_something_answers_that_is_no_http_server_is_not_ready() -> None:
    def echo(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        settings = load_settings(ports=PortSettings(prefect=int(listener.getsockname()[1])))
        (prefect,) = [part for part in stack_parts(settings) if part.part.name == "prefect"]
        assert not prefect.is_ready()


def test_a_broker_that_is_not_there_is_found() -> None:
    settings = load_settings(broker=f"127.0.0.1:{free_port()}")
    (found,) = troubles(guarded("broker", lambda: servers.broker(settings)))
    assert settings.broker in found.found


def test_topics_that_are_missing_are_found_until_they_are_made(broker: str, tmp_path: Path) -> None:
    with running_registry(broker, tmp_path / "home") as settings:
        catalogue.apply(settings)
        assert troubles(guarded("topics", lambda: servers.topics(settings))) == []
    (found,) = troubles(guarded("topics", lambda: servers.topics(settings)))
    assert settings.registry in found.found


def test_a_lake_that_cannot_be_used_is_found(tmp_path: Path, s3_server: S3Server) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    lake = s3_server.settings().lake
    for wrong, words in (
        (load_settings(lake=str(file)), "cannot hold"),
        (s3_server.settings(key="somebody"), "HEADRACE_S3__"),
        (s3_server.settings(bucket="nowhere"), "does not exist"),
        (load_settings(lake=lake, s3={"endpoint_url": f"http://127.0.0.1:{free_port()}"}), "S3"),
    ):
        found = troubles(guarded("lake", lambda wrong=wrong: servers.lake(open_store(wrong))))  # type: ignore[misc]
        assert len(found) == 1, wrong.lake
        assert words in found[0].found + found[0].remedy


def test_a_store_that_overwrites_what_must_stay_is_found(s3_server: S3Server) -> None:
    with s3_front(s3_server) as front:
        settings = S3Server(front.url).settings()
        store = open_store(settings)
        assert troubles(servers.lake(store)) == []
        front.overwrites = True
        (found,) = troubles(servers.lake(store))
        assert "If-None-Match" in found.found
        assert store.list("doctor") == []


@contextmanager
def served(date: float, answer: bytes = b"[]") -> Iterator[str]:
    """The address of a server whose clock shows this and that answers this to whatever it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(date, usegmt=True)

        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_clocks_that_differ_are_found() -> None:
    now = dt.datetime.now(dt.UTC).timestamp()
    with served(now) as right, served(now + 600) as wrong:
        (found,) = troubles(servers.clocks([right, wrong, f"http://127.0.0.1:{free_port()}"]))
    assert wrong in found.found
    assert "behind" in found.found


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"[]", "knows no deployment"),
        (b'[{"paused": true}]', "paused"),
        (
            b'[{"schedules": [{"active": false, "schedule": {"cron": "30 4 * * *"}}]}]',
            "no schedule that is on",
        ),
        (b'[{"schedules": [{"active": true, "schedule": {"cron": "1 1 * * *"}}]}]', "HEADRACE_FLOW__CRON is"),
        (
            b'[{"status": "NOT_READY", "schedules": [{"active": true, "schedule": {"cron": "30 4 * * *"}}]}]',
            "no process serves",
        ),
        (b"no JSON", "does not answer"),
    ],
)
def test_a_deployment_that_would_not_run_is_found(answer: bytes, words: str) -> None:
    with served(0.0, answer) as url:
        (found,) = troubles(schedules.deployment(load_settings(prefect_url=url)))
    assert words in found.found


def test_a_wrong_setting_is_a_finding_like_others(offline_settings: Settings) -> None:
    done = headrace(offline_settings, "doctor", HEADRACE_LAKES="typo")
    assert done.returncode == 1
    assert "did you mean HEADRACE_LAKE?" in done.stdout


def test_a_running_stack_is_well_until_its_schedule_is_switched_off(stack: Settings) -> None:
    well = headrace(stack, "doctor")
    assert well.returncode == 0, well.stdout
    assert "nothing is wrong" in well.stdout
    api = f"{stack.prefect}/api/deployments"
    (daily,) = httpx.post(f"{api}/filter", json={"deployments": {"name": {"any_": ["daily"]}}}).json()
    httpx.post(f"{api}/{daily['id']}/pause_deployment").raise_for_status()
    try:
        ill = headrace(stack, "doctor")
    finally:
        httpx.post(f"{api}/{daily['id']}/resume_deployment").raise_for_status()
    assert ill.returncode == 1, ill.stdout
    assert "paused" in ill.stdout
