"""Real parts that the tests share: an embedded broker, and settings that point to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import PortSettings, Settings, load_settings
from tests import running, s3
from tests.running import free_port, running_broker
from tests.s3 import S3Server, running_s3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on-kafka", action="store_true", help="Run on Apache Kafka, not the embedded broker.")
    parser.addoption("--on-minio", action="store_true", help="Run on MinIO, not SeaweedFS.")


def pytest_configure(config: pytest.Config) -> None:
    running.ON_KAFKA = config.getoption("--on-kafka")
    s3.ON_MINIO = config.getoption("--on-minio")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of what only Apache Kafka can do, unless they run on it."""
    if not running.ON_KAFKA:
        left_out = [item for item in items if item.get_closest_marker("needs_kafka")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """What stands in the developer's environment must not change a test."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") and name != "HEADRACE_DATA":
            del os.environ[name]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that lives as long as the session."""
    with running_broker(tmp_path_factory.mktemp("broker")) as servers:
        yield servers


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that lives as long as the session."""
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for everything one installation keeps."""
    return tmp_path / "home"


@pytest.fixture
def offline_settings(home: Path) -> Settings:
    """Settings of an installation of which nothing runs."""
    return load_settings(
        home=home,
        ports=PortSettings(broker=free_port(), registry=free_port(), prefect=free_port(), http=free_port()),
    )
