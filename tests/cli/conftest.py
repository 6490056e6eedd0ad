"""A whole stack that the tests of the command line share."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cli.parts import JOBS, SCALED, WORKERS_MAX
from infra.settings import PortSettings, Settings, StreamSettings, load_settings
from tests import running, s3
from tests.cli.commands import headrace
from tests.running import free_port, free_ports

PORTS_MAX = len(JOBS) + len(SCALED) * WORKERS_MAX
"""Ports of metrics, one for each worker that there may be."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a stack that runs."""
    names = ("broker", "registry", "prefect", "http")
    settings = load_settings(
        home=tmp_path_factory.mktemp("stack"),
        stream=StreamSettings(flush_s_max=2.0),
        ports=PortSettings(metrics=free_ports(PORTS_MAX), **{name: free_port() for name in names}),
    )
    with ExitStack() as servers:
        if running.ON_KAFKA:
            broker = servers.enter_context(running.running_broker(tmp_path_factory.mktemp("kafka")))
            settings = settings.model_copy(update={"broker": broker})
        if s3.ON_MINIO:
            lake = servers.enter_context(s3.running_s3(tmp_path_factory.mktemp("minio"))).settings()
            settings = settings.model_copy(update={"lake": lake.lake, "s3": lake.s3})
        started = headrace(settings, "up")
        try:
            assert started.returncode == 0, started.stdout
            yield settings
        finally:
            stopped = headrace(settings, "down")
    assert stopped.returncode == 0, stopped.stdout
    left = subprocess.run(["pgrep", "-f", str(settings.home)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
