"""Real parts that the tests share: an embedded broker, and settings that point to it."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded_broker import start_broker
from infra.settings import PortSettings, Settings, load_settings


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """What stands in the developer's environment must not change a test."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") and name != "HEADRACE_DATA":
            del os.environ[name]


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of an embedded broker that lives as long as the session."""
    folder, port = tmp_path_factory.mktemp("broker"), free_port()
    with (folder / "log").open("wb") as output:
        process = start_broker(port, folder / "data", output)
        try:
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
            deadline = time.monotonic() + 30
            while True:
                try:
                    client.list_topics(timeout=1)
                    break
                except KafkaException:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise RuntimeError((folder / "log").read_text()) from None
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


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
