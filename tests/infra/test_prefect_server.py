"""What the Prefect server and its clients are told; tests/flows starts the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import MissingPartError
from infra.prefect_server import (
    prefect_environment,
    prefect_is_ready,
    prefect_server_command,
    prefect_server_environment,
    wait_for_prefect,
)
from infra.settings import FlowSettings, S3Settings, Settings, load_settings, settings_environment


def test_the_server_keeps_everything_under_the_home_folder_and_listens_on_the_loopback(
    offline_settings: Settings, home: Path
) -> None:
    environment = prefect_server_environment(offline_settings)
    for name in (
        "PREFECT_HOME",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_MEMO_STORE_PATH",
    ):
        assert str(home / "prefect") in environment[name]
    command = prefect_server_command(offline_settings)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == str(offline_settings.ports.prefect)
    assert Path(command[0]).is_absolute()


def test_a_server_of_ones_own_is_the_one_that_clients_talk_to(home: Path) -> None:
    settings = load_settings(home=home, prefect_url="https://prefect.example:4200/")
    assert prefect_environment(settings)["PREFECT_API_URL"] == "https://prefect.example:4200/api"


def test_prefect_knows_every_variable_it_is_given(offline_settings: Settings) -> None:
    """A misspelt variable of Prefect is silently ignored by it."""
    given = prefect_server_environment(offline_settings)
    code = (
        "import json, os, sys; from prefect.settings import get_current_settings as get; "
        "print(json.dumps(sorted(get().to_environment_variables(exclude_unset=True))))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")} | given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    known = set(done.stdout.split('"')[1::2])
    # Prefect's documented name of the database's URL is an alias of the one it reports.
    aliases = {"PREFECT_API_DATABASE_CONNECTION_URL": "PREFECT_SERVER_DATABASE_CONNECTION_URL"}
    expected = {aliases.get(name, name) for name in given if name.startswith("PREFECT_")}
    assert expected <= known


def test_a_missing_server_is_named_with_what_to_do(offline_settings: Settings) -> None:
    assert not prefect_is_ready(offline_settings)
    with pytest.raises(MissingPartError, match=r"127\.0\.0\.1:\d+, found none .*headrace up"):
        wait_for_prefect(offline_settings, timeout_s=0.0)


def test_another_process_loads_the_same_settings_from_their_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(
        home=home,
        kafka={"sasl.mechanism": "PLAIN", "sasl.password": "p=w"},
        s3=S3Settings(access_key="key", secret_key="secret", endpoint_url="http://127.0.0.1:9000"),
        flow=FlowSettings(horizon_days=9, cron="5 5 * * *", time_zone="Europe/Vienna"),
    )
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
