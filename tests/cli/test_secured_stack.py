"""Kafka behind TLS and a password, and the lake behind HTTPS, used by settings alone; and what refuses is said."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from cli.own_token import own_headers
from infra.blobs import open_store
from infra.settings import PortSettings, Settings, StreamSettings, load_settings, settings_environment
from lake.read import Lake
from tests.certificates import Authority
from tests.cli.commands import headrace
from tests.kafka_servers import PASSWORD, running_secured_kafka
from tests.running import free_port, free_ports
from tests.s3 import SECRET, S3Server, running_s3

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(600)]

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
SOON_S = 20.0
"""Well below the minute of retries that a client of Kafka or S3 takes by itself, on a loaded machine."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def secured_s3(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3"), authority) as server:
        yield server


@pytest.fixture(scope="module")
def settings(
    authority: Authority, secured_s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings of an installation on secured servers; nothing of it runs yet."""
    lake = secured_s3.settings()
    with running_secured_kafka(tmp_path_factory.mktemp("kafka"), authority) as kafka:
        yield load_settings(
            home=tmp_path_factory.mktemp("home"),
            broker=kafka.broker,
            kafka=kafka.kafka,
            lake=lake.lake,
            s3=lake.s3,
            stream=StreamSettings(flush_s_max=1.0),
            ports=PortSettings(
                broker=free_port(),
                registry=free_port(),
                prefect=free_port(),
                http=free_port(),
                metrics=free_ports(64),
            ),
        )


@pytest.fixture(scope="module")
def stack(settings: Settings) -> Iterator[Settings]:
    """The installation, started with the options that name its servers."""
    bare = settings.model_copy(update={"broker": "", "lake": ""})
    started = headrace(bare, "up", "--broker", settings.broker, "--lake", settings.lake)
    try:
        assert started.returncode == 0, started.stdout
        assert f"HEADRACE_BROKER={settings.broker} HEADRACE_LAKE={settings.lake}" in started.stdout
        yield settings
    finally:
        stopped = headrace(settings, "down")
    assert stopped.returncode == 0, stopped.stdout


def test_a_delivery_is_judged_and_lies_in_the_lake(stack: Settings) -> None:
    files = [str(FORMATS / name) for name in ("locations.csv", "products.csv", "sales.csv")]
    found = headrace(stack, "deliver", "--customer", "acme", "--wait", "90", *files)
    assert found.returncode == 0, found.stdout
    assert headrace(stack, "status").returncode == 0
    answer = httpx.get(
        f"{stack.http_url}/v1/deliveries",
        params={"customer_id": "acme"},
        headers=own_headers(stack),
        timeout=30,
    )
    told = {item["name"]: item["valid"] for item in answer.raise_for_status().json()["deliveries"]}
    assert told["sales.csv"] > 0
    store, deadline = open_store(stack), time.monotonic() + 60
    while not store.list("sales_joined") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(Lake(store).raw("sales_joined").polars()) == told["sales.csv"]
    assert headrace(stack, "lake", "verify").returncode == 0


def test_options_of_a_stack_that_runs_already_are_refused(stack: Settings) -> None:
    found = headrace(stack, "up", "--lake", "elsewhere")
    assert found.returncode == 2
    assert "`headrace down` first" in found.stdout


def test_no_password_stands_in_any_log_or_file_of_the_installation(stack: Settings) -> None:
    files = [path for path in stack.home.rglob("*") if path.is_file() and not path.is_socket()]
    assert any(path.suffix == ".log" for path in files)
    telling = [p for p in files if PASSWORD.encode() in (text := p.read_bytes()) or SECRET.encode() in text]
    assert telling == []


Wrong = tuple[Mapping[str, str], str]


@pytest.fixture(params=["password", "kafka authority", "secret key", "lake authority"])
def wrong(request: pytest.FixtureRequest, settings: Settings, stranger: Authority) -> Wrong:
    """Variables with which a server refuses, and the setting that the error must name."""
    wrongs: dict[str, Wrong] = {
        "password": ({"HEADRACE_KAFKA__SASL_PASSWORD": "guessed-word"}, "HEADRACE_KAFKA__SASL_PASSWORD"),
        "kafka authority": (
            {"HEADRACE_KAFKA__SSL_CA_LOCATION": str(stranger.file)},
            "HEADRACE_KAFKA__SSL_CA_LOCATION",
        ),
        "secret key": ({"HEADRACE_S3__SECRET_KEY": "guessed-word"}, "HEADRACE_S3__SECRET_KEY"),
        "lake authority": ({"HEADRACE_S3__CA_FILE": str(stranger.file)}, "HEADRACE_S3__CA_FILE"),
    }
    return wrongs[request.param]


COMMANDS = {
    "deliver": ["deliver", "--customer", "acme", str(FORMATS / "sales.csv")],
    "status": ["status"],
    "job": ["job", "validate"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_whoever_is_refused_says_so_in_one_line_and_soon(stack: Settings, wrong: Wrong, command: str) -> None:
    variables, name = wrong
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "cli.main", *COMMANDS[command]],
        env={**os.environ, **settings_environment(stack), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    took_s = time.monotonic() - began
    assert run.returncode == 2, run.stderr
    told = run.stderr.strip().splitlines()
    assert len(told) == 1, run.stderr
    assert told[0].startswith("headrace: HEADRACE_")
    assert name in told[0]
    assert "guessed-word" not in run.stdout + run.stderr
    assert took_s < SOON_S
    assert SECRET not in run.stdout + run.stderr


def test_up_says_who_refuses_it_before_it_starts_anything(
    settings: Settings, wrong: Wrong, tmp_path: Path
) -> None:
    variables, name = wrong
    other = settings.model_copy(update={"home": tmp_path / "other"})
    began = time.monotonic()
    found = headrace(other, "up", **variables)
    assert found.returncode == 2, found.stdout
    assert name in found.stdout
    assert time.monotonic() - began < SOON_S
    assert not (tmp_path / "other").exists()
