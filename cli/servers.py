"""`headrace servers`: Apache Kafka and MinIO on this machine, for those who have none and want the real ones."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console

from cli.tables import terminal
from infra.errors import MissingPartError
from infra.kafka import broker_answers
from infra.servers.apache_kafka import cluster_nodes, kafka_command, kafka_jars
from infra.servers.minio import has_bucket, minio_command, minio_environment, minio_program
from infra.settings import Settings, load_settings
from infra.supervised import Part, Supervisor

BUCKET = "headrace"
READY_S_MAX = 60.0

app = typer.Typer(
    help="Apache Kafka and MinIO on this machine, without containers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def up() -> None:
    """Install them on first use (Maven and a JDK; Go), start them, and write the settings that use them."""
    settings, console = load_settings(), terminal()
    folder = settings.home / "servers"
    supervisor = Supervisor(folder)
    password = _password(folder / "minio.password")
    own = settings.model_copy(
        update={"broker": f"127.0.0.1:{settings.ports.kafka}", "lake": f"s3://{BUCKET}/lake"}
    )
    if not supervisor.runs:
        with console.status("installing Apache Kafka (seconds) and MinIO (minutes), once for this user"):
            parts = _parts(settings, folder)
        supervisor.start(parts, minio_environment(BUCKET, password))
    for name in ("kafka", "minio"):
        supervisor.start_part(name)
    endpoint = f"http://127.0.0.1:{settings.ports.minio}"
    _await("kafka", supervisor, lambda: broker_answers(own), console)
    _await("minio", supervisor, lambda: has_bucket(endpoint, BUCKET, password, BUCKET), console)
    path = _write_settings(folder / "env", own, endpoint, password)
    console.print(
        f"`set -a; . {path}; set +a` makes `headrace up` and everything else use them", markup=False
    )


@app.command()
def down() -> None:
    """Stop them; their data stay."""
    Supervisor(load_settings().home / "servers").stop()


def _parts(settings: Settings, folder: Path) -> list[Part]:
    ports = settings.ports
    (node,) = cluster_nodes(folder, [(ports.kafka, ports.kafka + 1)])
    kafka = kafka_command(kafka_jars(settings.cache), node)
    minio = minio_command(minio_program(settings.cache), folder / "minio", ports.minio)
    return [Part("kafka", kafka, 1), Part("minio", minio, 1)]


def _password(path: Path) -> str:
    """The password of MinIO's user, made on first use and kept from others."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _write_settings(path: Path, settings: Settings, endpoint: str, password: str) -> Path:
    lines = {
        "HEADRACE_BROKER": settings.broker,
        "HEADRACE_LAKE": settings.lake,
        "HEADRACE_S3__ENDPOINT_URL": endpoint,
        "HEADRACE_S3__ACCESS_KEY": BUCKET,
        "HEADRACE_S3__SECRET_KEY": password,
    }
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    return path


def _await(name: str, supervisor: Supervisor, ready: Callable[[], bool], console: Console) -> None:
    """Wait until a server is ready.

    Raises:
        MissingPartError: It did not come up; the text says where its log is.
    """
    began = time.monotonic()
    while not ready():
        if time.monotonic() > began + READY_S_MAX:
            raise MissingPartError(
                f"{name} did not come up within {READY_S_MAX:g} s; see {supervisor.log(name)}"
            )
        time.sleep(0.2)
    console.print(f"  [green]✓[/] {name:<14} {time.monotonic() - began:5.1f} s")
