"""Real parts that run for as long as a test needs them, and ways to wait for what they do."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import s3fs
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from pydantic import SecretStr

from infra.embedded_broker import start_broker
from infra.errors import MissingPartError
from infra.kafka import check_broker
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.servers.minio import minio_command, minio_environment, minio_program
from infra.settings import S3Settings, Settings, load_settings, settings_environment

WAIT_S_MAX = 90.0
S3_KEY, S3_SECRET, BUCKET = "headrace-key", "hidden-from-all", "lake"
ON_KAFKA = False
"""Whether brokers are Apache Kafka instead of the embedded one: `pytest --on-kafka`."""
ON_MINIO = False
"""Whether S3 servers are MinIO instead of SeaweedFS: `pytest --on-minio`."""


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that comes; fail with its name when it does not."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {WAIT_S_MAX:g} s")
        time.sleep(0.02)


def answers(settings: Settings) -> bool:
    """Whether the broker of these settings answers."""
    try:
        check_broker(settings, 1)
    except MissingPartError:
        return False
    return True


@contextmanager
def running_broker(folder: Path, port: int = 0) -> Iterator[str]:
    """Bootstrap servers of a broker of its own, of the kind asked for, on a free port if none is named."""
    port = port or free_port()
    servers = f"127.0.0.1:{port}"
    with (folder / "broker.log").open("wb") as output:
        process = (
            start_kafka(port, folder, output) if ON_KAFKA else start_broker(port, folder / "broker", output)
        )
        try:
            wait_until(lambda: answers(load_settings(broker=servers)), "the broker's answer")
            yield servers
        finally:
            process.terminate()
            process.wait(60)


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server with one bucket.

    Attributes:
        url: Its endpoint.
    """

    url: str

    def settings(self, bucket: str = BUCKET, prefix: str = "", key: str = S3_KEY) -> Settings:
        """Settings of a lake on it, below a prefix of its own if none is named."""
        s3 = S3Settings(endpoint_url=self.url, access_key=SecretStr(key), secret_key=SecretStr(S3_SECRET))
        return load_settings(lake=f"s3://{bucket}/{prefix or uuid.uuid4().hex}", s3=s3)

    def files(self) -> s3fs.S3FileSystem:
        """The server as s3fs sees it, without Headrace."""
        return s3fs.S3FileSystem(
            key=S3_KEY,
            secret=S3_SECRET,
            endpoint_url=self.url,
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """A SeaweedFS of its own, or a MinIO."""
    port = free_port()
    if ON_MINIO:
        program = minio_program(load_settings().cache)
        command, secrets = minio_command(program, folder / "s3", port), minio_environment(S3_KEY, S3_SECRET)
    else:
        command, secrets = weed_command(folder / "s3", port)
    server = S3Server(f"http://127.0.0.1:{port}")
    with (folder / "s3.log").open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **secrets}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until(lambda: _has_bucket(server), "the S3 server's answer")
            yield server
        finally:
            process.terminate()
            process.wait(60)


def weed_command(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The command that runs SeaweedFS with everything on free ports, and the environment that it needs."""
    folder.mkdir(parents=True)
    ports = [f"-{name}.port={free_port()}" for name in ("master", "filer", "volume")]
    # Each server has a second port besides, ten thousand higher unless it is told.
    ports += [f"-{name}.port.grpc={free_port()}" for name in ("master", "filer", "volume", "s3")]
    weed = str(Path(sys.executable).parent / "weed")
    options = [
        "-ip=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.autoCreateBucket=false",
        f"-dir={folder}",
        f"-s3.port={port}",
    ]
    return [weed, "mini", *options, *ports], {
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
    }


def _has_bucket(server: S3Server) -> bool:
    files = server.files()
    try:
        if not files.exists(BUCKET):
            files.mkdir(BUCKET)
    except (OSError, BotoCoreError):
        return False
    return True


def start_kafka(port: int, folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start an Apache Kafka of one node as a child process that logs to `output`."""
    (node,) = cluster_nodes(folder, [(port, free_port())])
    command = kafka_command(kafka_jars(load_settings().cache), node)
    return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


@contextmanager
def running_job(job: Callable[[threading.Event], None]) -> Iterator[threading.Thread]:
    """Run a job in a thread; stop it at the end of the block and raise what it raised."""
    stop, failures = threading.Event(), list[BaseException]()

    def target() -> None:
        try:
            job(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(WAIT_S_MAX)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def job_process(settings: Settings, code: str) -> subprocess.Popen[bytes]:
    """A job in a process of its own, to be killed; `code` sees `settings`, `stop` and `store`."""
    program = (
        "import signal, threading\n"
        "from infra.settings import load_settings\n"
        "from infra.telemetry import log_to_stderr\n"
        "from infra.blobs import open_store\n"
        "settings, stop = load_settings(), threading.Event()\n"
        "log_to_stderr(settings)\n"
        "store = open_store(settings)\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n" + code
    )
    environment = {**os.environ, **settings_environment(settings)}
    return subprocess.Popen([sys.executable, "-c", program], env=environment)
