"""`headrace up`, `down`, `status`, `logs` and `topics`: what an operator does on one machine."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.admission import admitted
from cli.own_token import page_link
from cli.parts import SCALED, WORKERS_MAX
from cli.stack import Stack
from cli.stream_view import StreamView
from cli.tables import deliveries_table, lag_table, partition_lag_table, parts_table, terminal, titled
from cli.watch import Moment, watched
from infra.blobs import open_store
from infra.errors import MissingPartError, SettingError
from infra.settings import Settings, load_settings
from schemas import catalogue
from serving.token_store import TokenStore

FOLLOW_POLL_S = 0.3


def add_to(app: typer.Typer) -> None:
    """Add the operator's commands to the command line."""
    for command in (up, down, status, logs, topics):
        app.command()(command)


def up(
    broker: Annotated[
        str | None, typer.Option(help="Kafka to use instead of HEADRACE_BROKER.", show_default=False)
    ] = None,
    lake: Annotated[
        str | None, typer.Option(help="Lake to use instead of HEADRACE_LAKE.", show_default=False)
    ] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option(
            help="So many workers of a job, such as validate=3, also while the stack runs; jobs that can have several: "
            f"{', '.join(SCALED)}.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start every part of the one-machine stack that does not run, and wait until all take work."""
    asked = {name: value for name, value in (("broker", broker), ("lake", lake)) if value is not None}
    settings, console = load_settings(**asked), terminal()
    stack = Stack(settings, workers_asked(workers or []))
    if asked and stack.runs:
        raise SettingError(
            "--broker, --lake: expected a stack that does not run yet, found that it does; `headrace down` first"
        )
    start(stack, console)
    show_page_link(settings, console)
    if asked:
        words = " ".join(f"HEADRACE_{name.upper()}={value}" for name, value in asked.items())
        console.print(
            f"`export {words}` makes the other commands use them too", markup=False, highlight=False
        )


def workers_asked(texts: Sequence[str]) -> dict[str, int]:
    """How many workers of each job a person wants.

    Raises:
        SettingError: It is not `JOB=NUMBER`.
    """
    found = {}
    for text in texts:
        job, _, number = text.partition("=")
        if job not in SCALED or not number.isdecimal() or not 1 <= int(number) <= WORKERS_MAX:
            raise SettingError(
                f"--workers: expected JOB=NUMBER with a job of {', '.join(SCALED)} and 1 to {WORKERS_MAX} workers, "
                f"found {text!r}"
            )
        found[job] = int(number)
    return found


def start(stack: Stack, console: Console) -> None:
    """Start the stack, saying what becomes ready as it does.

    Raises:
        MissingPartError: A port is taken, or a part does not come up.
    """
    began = time.monotonic()
    with console.status("waiting for every part to take work"):
        stack.up(lambda name: console.print(f"  [green]✓[/] {name:<14} {time.monotonic() - began:5.1f} s"))
    for view in stack.views():
        if view.url:
            console.print(f"  {view.name:<16} {view.url}")


def show_page_link(settings: Settings, console: Console) -> None:
    """Print a link into the page, whole on its line."""
    link = page_link(settings, TokenStore(open_store(settings)))
    text = f"  into the page    {link}  (once, for ten minutes; then `headrace page`)"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def down() -> None:
    """Stop every part, the jobs before the servers they need."""
    Stack(load_settings()).down()


def status(
    deliveries: Annotated[
        int, typer.Option(min=0, max=1000, help="How many of the newest deliveries to show.")
    ] = 20,
    partitions: Annotated[bool, typer.Option("--partitions", help="Show the lag of each partition.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it until Ctrl-C.")] = False,
) -> None:
    """Show what runs, what lags, and what became of each delivery."""
    settings, console = load_settings(), terminal()
    stack = Stack(settings)
    # Where the jobs run elsewhere, as in containers, the rest is still to be seen from here.
    elsewhere = bool(settings.broker) and not stack.runs
    if not elsewhere:
        stack.supervisor.states()  # Says how to start it when it does not run.
    admitted(settings)
    view = StreamView(settings, open_store(settings))
    try:
        if watch:
            watched(console, lambda: Moment.of(settings, None if elsewhere else stack, view))
            return
        moment = Moment.of(settings, None if elsewhere else stack, view)
        if elsewhere:
            console.print(
                f"no part runs under {settings.home}", markup=False, highlight=False, soft_wrap=True
            )
        else:
            console.print(parts_table(moment.parts))
        console.print((partition_lag_table if partitions else lag_table)(moment.lags))
        console.print(deliveries_table(view.page(None, None, None, deliveries)))
    finally:
        view.close()
    if not all(part.ready for part in moment.parts):
        raise typer.Exit(1)


def logs(
    part: Annotated[str, typer.Argument(help="Name of the part, as `headrace status` shows it.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what a part has logged."""
    stack = Stack(load_settings())
    path = stack.supervisor.log(part)
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in stack.supervisor.logs.glob("*.log")))
        raise MissingPartError(
            f"no part {part!r} has logged here; these have: {known or 'none, start with `headrace up`'}"
        )
    sys.stdout.write(
        "".join(path.read_text(errors="replace").splitlines(keepends=True)[-lines:] if lines else [])
    )
    if follow:
        _follow(path)


def topics(
    action: Annotated[str, typer.Argument(help="show, check or apply.")] = "show",
) -> None:
    """Show the topic catalogue, check the cluster against it, or create what is missing."""
    settings, console = load_settings(), terminal()
    if action == "show":
        table = titled("Topics", "topic", "owner", "partitions", "cleanup", "key")
        for topic in catalogue.CATALOGUE.values():
            table.add_row(topic.name, topic.owner, str(topic.partitions), topic.cleanup, topic.key)
        console.print(table)
    elif action == "check":
        differences = catalogue.check(settings)
        for difference in differences:
            console.print(str(difference), markup=False)
        if differences:
            raise typer.Exit(1)
        console.print("cluster and registry are as the catalogue says")
    elif action == "apply":
        for change in catalogue.apply(settings):
            console.print(str(change), markup=False)
    else:
        raise typer.BadParameter(f"expected show, check or apply, found {action!r}")


def _follow(path: Path) -> None:
    with path.open(errors="replace") as log:
        log.seek(0, os.SEEK_END)
        while True:
            if text := log.read():
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                time.sleep(FOLLOW_POLL_S)
