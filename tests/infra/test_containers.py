"""The container deployment against the project: what it starts, what it sets, and what it watches."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from cli.jobs import app
from cli.parts import JOBS
from docs.reference import ROOT, settings
from infra import telemetry
from infra.containers import checking
from infra.containers.passwords import FOLDER, filled, write_env
from infra.servers import apache_kafka

COMPOSE_TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOB_SERVICES = {name: one for name, one in SERVICES.items() if one.get("command", [""])[0] == "job"}
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yaml").read_text())
ALERTS = yaml.safe_load((FOLDER / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "headrace.json").read_text())
EXAMPLE = (FOLDER / ".env.example").read_text()


def test_every_job_of_the_stack_is_a_service_that_runs_the_same_command() -> None:
    services = {name: tuple(one["command"][1:]) for name, one in JOB_SERVICES.items()}
    assert services == JOBS, "infra/containers: compose.yaml, prometheus.yaml and alerts.yaml name every job"


def test_every_job_command_exists() -> None:
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert {one["command"][1] for one in JOB_SERVICES.values()} <= known


def test_every_setting_that_is_given_exists() -> None:
    known = set(re.findall(r"`(HEADRACE_[A-Z0-9_]+)`", settings()))
    for name in re.findall(r"HEADRACE_[A-Z0-9_]+", COMPOSE_TEXT + EXAMPLE):
        assert name in known or name.startswith("HEADRACE_KAFKA__"), f"{name} is no setting"


def test_every_variable_of_the_compose_file_is_explained_in_the_example() -> None:
    named = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE_TEXT))
    explained = set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]+)=", EXAMPLE))
    assert named == explained


def test_a_default_in_the_example_is_the_one_of_the_compose_file() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", COMPOSE_TEXT))
    shown = dict(re.findall(r"(?m)^# ([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE))
    del defaults["INBOX_FOLDER"], shown["INBOX_FOLDER"]  # A volume; the example shows a folder.
    assert shown == defaults


def test_no_password_has_a_default_and_without_one_nothing_starts() -> None:
    secret = r"\$\{([A-Z0-9_]*(?:PASSWORD|SECRET)[A-Z0-9_]*)([^}]*)\}"
    found = re.findall(secret, COMPOSE_TEXT)
    assert {name for name, _ in found} == set(re.findall(r"(?m)^([A-Z0-9_]+)=$", EXAMPLE))
    for name, rest in found:
        assert rest.startswith(":?"), f"{name} may be missing"
    for service, one in SERVICES.items():
        for name, value in one.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|AUTH_STRING", name):
                assert re.search(secret, value), f"{service}: {name} is written in the file"


def test_each_image_has_a_version() -> None:
    for service, one in SERVICES.items():
        name, _, tag = one["image"].partition(":")
        assert re.search(r"\d+\.\d+|^\d{14}$", tag), f"{service}: {name} has no version"
    for path in (FOLDER / "Containerfile", FOLDER / "minio.Containerfile"):
        for image in re.findall(r"(?m)^FROM (\S+)", path.read_text()):
            assert re.search(r":\d+\.\d+\.\d+", image), f"{path.name}: {image} has no version"


def test_a_version_that_stands_in_two_places_is_one() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{apache_kafka.VERSION}"
    minor = re.findall(r"promtool@v0\.3(\d\d)\.(\d+)", checking.PROMTOOL)[0]
    assert SERVICES["prometheus"]["image"] == "prom/prometheus:v3.{}.{}".format(*minor)
    version = re.findall(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text())[0]
    assert SERVICES["http"]["image"] == f"headrace:${{IMAGE_VERSION:-{version}}}"
    stamp = SERVICES["minio"]["image"].partition(":")[2]
    assert f"minio@v0.0.0-{stamp}-" in (FOLDER / "minio.Containerfile").read_text()


def test_every_service_is_confined() -> None:
    for name, one in SERVICES.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["user"] not in {"root", "0", "0:0"}, name
        assert one["mem_limit"], name
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is published to the world"


def test_whoever_runs_on_is_restarted_and_asked_how_it_is() -> None:
    once = {"bucket", "topics", "headrace"}
    for name, one in SERVICES.items():
        assert one["restart"] == ("no" if name in once else "unless-stopped"), name
        assert ("healthcheck" in one) == (name not in once), name
        for other, how in one.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in once else "service_healthy"
            assert how == {"condition": expected}, f"{name} waits for {other}"


def test_each_job_is_found_by_prometheus_at_its_own_port() -> None:
    found = {
        one["job_name"]: (one["dns_sd_configs"][0]["names"], one["dns_sd_configs"][0]["port"])
        for one in PROMETHEUS["scrape_configs"]
    }
    assert found == {name: ([name], 18100) for name in JOB_SERVICES}
    missing = next(rule for rule in ALERTS if rule["alert"] == "HeadraceJobMissing")
    assert missing["expr"].endswith(f"< {len(JOB_SERVICES)}")
    assert f"of {len(JOB_SERVICES)} services" in missing["annotations"]["summary"]


def test_every_metric_that_is_watched_is_one_of_ours() -> None:
    ours = set(_series())
    for expression in _expressions():
        for name in re.findall(r"\bheadrace_[a-z_]+", expression):
            assert name in ours, f"{name} is no metric of Headrace: {expression}"


def test_every_alert_is_seen_to_fire() -> None:
    tested = (FOLDER / "prometheus" / "alerts.test.yaml").read_text()
    for rule in ALERTS:
        assert f'alertname="{rule["alert"]}"' in tested


def test_every_alert_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"(?m)^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text())
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    watched = " ".join(_expressions())
    for metric in vars(telemetry).values():
        if hasattr(metric, "_name") and metric in set(REGISTRY._collector_to_names):
            assert metric._name in watched, f"nobody watches {metric._name}"


def test_passwords_are_made_for_the_empty_variables_only() -> None:
    text = filled("A_PASSWORD=\nB=kept\n# C=\n")
    assert re.fullmatch(r"A_PASSWORD=[0-9a-f]{48}\nB=kept\n# C=\n", text)
    assert not re.search(r"(?m)=$", filled(EXAMPLE))
    assert filled(EXAMPLE) != filled(EXAMPLE)


def test_passwords_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=\n")
    path = write_env(tmp_path)
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_env(tmp_path)
    assert path.read_text() == first


def test_the_wheel_holds_what_the_packages_read_at_run_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True
    ).stdout
    for package in JOB_PACKAGES:
        for path in (ROOT / package).rglob("*"):
            name = str(path.relative_to(ROOT))
            if path.is_file() and "__pycache__" not in name and not name.startswith(DEPLOYMENTS):
                assert name in listing
    assert not any(folder in listing for folder in DEPLOYMENTS)


JOB_PACKAGES = ("infra", "schemas", "lake", "ml", "stream_jobs", "flows", "serving", "cli")


DEPLOYMENTS = ("infra/containers/", "infra/kubernetes/")


def test_the_image_is_built_from_what_the_wheel_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == [
        "*",
        "**/__pycache__",
        "infra/containers",
        "infra/kubernetes",
    ]
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert kept == {"pyproject.toml", "README.md", "requirements", *JOB_PACKAGES}


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def _series() -> Iterator[str]:
    """Names under which our metrics are scraped."""
    for metric in REGISTRY.collect():
        suffixes = {
            "counter": ("_total",),
            "gauge": ("",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(metric.type, ())
        yield from (metric.name + suffix for suffix in suffixes)
