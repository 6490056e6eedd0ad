"""`headrace job NAME`: runs one always-on process of Headrace in the foreground, until SIGTERM or Ctrl-C.

Each command imports what it runs and no more: ten of them start at once on one machine.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Literal

import typer

from cli.admission import admitted, admitted_to_lake
from cli.exits import run
from infra.blobs import open_store
from infra.embedded_broker import run_broker
from infra.errors import SettingError
from infra.prefect_server import prefect_environment, prefect_server_command, prefect_server_environment
from infra.settings import Settings, load_settings
from infra.telemetry import log_to_stderr, serve_metrics

logger = logging.getLogger(__name__)

app = typer.Typer(
    help="Run one job or server in the foreground.", no_args_is_help=True, rich_markup_mode=None
)

Worker = Annotated[
    str | None,
    typer.Option(
        help="Name of this worker among its job's, whose partitions they share (HEADRACE_STREAM__WORKER).",
        show_default=False,
    ),
]
MetricsPort = Annotated[int | None, typer.Option(help="Serve metrics on this port.", show_default=False)]

_MASTER = ("locations", "products", "prices", "events")
LANES = {
    **{content: frozenset({content}) for content in ("sales", *_MASTER)},
    "master": frozenset(_MASTER),
    "all": frozenset({"sales", *_MASTER}),
}


def _run(
    name: str,
    metrics_port: int | None,
    body: Callable[[Settings, threading.Event], None],
    admit: Callable[[Settings], Settings] = admitted,
    worker: str | None = None,
) -> None:
    overrides: dict[str, object] = {} if metrics_port is None else {"metrics_port": metrics_port}
    if worker is not None:
        overrides["stream"] = {"worker": worker}
    settings = load_settings(**overrides)
    log_to_stderr(settings)
    stop = threading.Event()

    def end(number: int, _frame: FrameType | None) -> None:
        logger.info("%s: stopping after %s", name, signal.Signals(number).name)
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    admit(settings)
    serve_metrics(settings)
    logger.info("%s: started", name)
    body(settings, stop)
    logger.info("%s: stopped", name)


@app.command()
def ingest(
    lane: Annotated[
        Literal["all", "sales", "master", "locations", "products", "prices", "events"],
        typer.Option(help="Which deliveries it reads; a second of a lane fences the first."),
    ] = "all",
    metrics_port: MetricsPort = None,
) -> None:
    """Read accepted deliveries and write their records to Kafka, exactly once."""
    from stream_jobs.ingest.job import run_ingest

    _run(f"ingest {lane}", metrics_port, lambda s, stop: run_ingest(s, open_store(s), LANES[lane], stop))


@app.command()
def inbox(metrics_port: MetricsPort = None) -> None:
    """Accept the files that are put into HEADRACE_INGEST__INBOX/CUSTOMER/."""
    from stream_jobs.ingest.accept import Desk
    from stream_jobs.ingest.inbox import run_inbox

    def body(settings: Settings, stop: threading.Event) -> None:
        if settings.ingest.inbox is None:
            raise SettingError("the inbox job needs HEADRACE_INGEST__INBOX, the folder to watch")
        store = open_store(settings)
        run_inbox(settings, store, Desk(settings, store), stop)

    _run("inbox", metrics_port, body)


@app.command()
def validate(
    rules: Annotated[
        str | None,
        typer.Option(
            help="Judge by the rules of this Python module (HEADRACE_STREAM__RULES).", show_default=False
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(help="Write to topics of this name only, which nobody else reads.", show_default=False),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Where a shadow begins: delivery:ID, offset:NUMBER or time:2026-11-01T12:00; its topic's beginning "
            "by default.",
            show_default=False,
        ),
    ] = None,
    worker: Worker = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Judge sales: the valid ones to sales-validated, the others to sales-error."""
    from stream_jobs.rule_sets import load_rules
    from stream_jobs.shadow import make_topics, shadow_outputs
    from stream_jobs.starting import Start
    from stream_jobs.validate import LIVE, run_validate

    outputs = LIVE if shadow is None else shadow_outputs(shadow)
    if begin is not None and shadow is None:
        raise SettingError(
            "--from: sales are judged once; name a --shadow to judge some of them again beside"
        )
    start = None if begin is None else Start.parsed(begin, "--from")

    def body(settings: Settings, stop: threading.Event) -> None:
        judged_by = load_rules(rules or settings.stream.rules)
        if shadow is not None:
            make_topics(settings, outputs)
        run_validate(settings, open_store(settings), stop, judged_by, outputs, start)

    _run(outputs.group, metrics_port, body, worker=worker)


@app.command()
def report(metrics_port: MetricsPort = None) -> None:
    """Tell what became of each delivery."""
    from stream_jobs.report import run_report

    _run("report", metrics_port, lambda s, stop: run_report(s, open_store(s), stop))


@app.command()
def join(worker: Worker = None, metrics_port: MetricsPort = None) -> None:
    """Join valid sales with their location and product and append them to the lake."""
    from lake.datasets import dataset_in_use
    from stream_jobs.join import run_join

    _run("join", metrics_port, lambda s, stop: run_join(s, dataset_in_use(s), stop), worker=worker)


@app.command()
def sink(worker: Worker = None, metrics_port: MetricsPort = None) -> None:
    """Append refused records and changes of master data to the lake."""
    from lake.datasets import dataset_in_use
    from stream_jobs.sink import run_sink

    _run("sink", metrics_port, lambda s, stop: run_sink(s, dataset_in_use(s), stop), worker=worker)


@app.command()
def window(worker: Worker = None, metrics_port: MetricsPort = None) -> None:
    """Sum valid sales by windows of time, and name those that come too late."""
    from stream_jobs.windows.job import run_window

    _run("window", metrics_port, lambda s, stop: run_window(s, open_store(s), stop), worker=worker)


@app.command()
def flows(metrics_port: MetricsPort = None) -> None:
    """Serve the Prefect deployments and run what their schedules start."""
    from lake.datasets import dataset_in_use

    def body(settings: Settings, stop: threading.Event) -> None:
        dataset_in_use(settings)
        os.environ.update(prefect_environment(settings))
        # Prefect reads its environment when it is imported, and takes seconds for that.
        from flows.serve import run_flows

        run_flows(settings, stop)

    _run("flows", metrics_port, body, admitted_to_lake)


@app.command()
def http() -> None:
    """Serve the API and the page."""
    from cli.service import serve_http

    settings = load_settings()
    log_to_stderr(settings)
    admitted(settings)
    serve_metrics(settings)
    serve_http(settings)


@app.command()
def registry() -> None:
    """Serve the embedded schema registry."""
    from schemas.registry_server import run_registry

    settings = load_settings()
    log_to_stderr(settings)
    run_registry(settings, settings.ports.registry)


@app.command()
def broker() -> None:
    """Run the embedded broker."""
    settings = load_settings()
    log_to_stderr(settings)
    run_broker(settings.ports.broker, settings.home / "broker")


@app.command()
def prefect() -> None:
    """Run the Prefect server with its UI."""
    settings = load_settings()
    (settings.home / "prefect").mkdir(parents=True, exist_ok=True)
    _become(prefect_server_command(settings), prefect_server_environment(settings))


def _become(command: list[str], environment: dict[str, str]) -> None:
    """Replace this process, so that the supervisor's signals reach the server itself."""
    os.execve(command[0], command, {**os.environ, **environment})


if __name__ == "__main__":
    run(app)
