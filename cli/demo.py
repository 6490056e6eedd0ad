"""`headrace demo`: the main job from files to forecasts, played with two simulated retailers.

The first run delivers eighteen months, each later one the week that follows, as long as there are past weeks.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule

from cli import demo_summary
from cli.data import upload_progress, wait_for_deliveries
from cli.lag import lags
from cli.operate import start
from cli.simulate import Deliveries, Delivery, plan, plan_week
from cli.stack import Stack
from cli.stream_view import StreamView
from cli.tables import terminal
from flows.trigger import DailyOutcome, run_daily
from infra.blobs import open_store
from infra.errors import UnavailableError
from infra.settings import Settings, load_settings
from stream_jobs.ingest.accept import Desk

SEED = 1729
FLUSH_S = "3"
DELIVERIES_WAIT_S = 300.0
LAG_WAIT_S = 60.0
DAILY_WAIT_S = 1800.0
HELD_WAIT_S = 60.0
MASTER_LANE = "ingest-master"


@dataclass(frozen=True, slots=True)
class Played:
    """How far the retailers have been played, kept between runs.

    Attributes:
        history_last_day: Last day of the first delivery's eighteen months.
        last_day: Last day delivered; None while the first delivery is not complete.
    """

    history_last_day: date
    last_day: date | None

    @classmethod
    def read(cls, path: Path, today: date) -> "Played":
        """What the file says; without one, a history that ends with a whole week to spare before today."""
        if not path.exists():
            sunday = today - timedelta(days=today.isoweekday())
            return cls(sunday - timedelta(days=7), None)
        found = json.loads(path.read_text())
        last_day = found["last_day"]
        return cls(
            date.fromisoformat(found["history_last_day"]), date.fromisoformat(last_day) if last_day else None
        )

    def write(self, path: Path) -> None:
        """Keep it for the next run."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=str))

    def next_deliveries(self, today: date) -> Deliveries | None:
        """What is to be delivered now; None when the next week has not passed yet."""
        if self.last_day is None:
            return plan(SEED, self.history_last_day)
        if self.last_day + timedelta(days=7) >= today:
            return None
        return plan_week(SEED, self.last_day + timedelta(days=1), self.history_last_day)


def add_to(app: typer.Typer) -> None:
    """Add the demo to the command line."""
    app.command()(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop everything at the end; exit 0 only if all of it held.")
    ] = False,
) -> None:
    """Start everything, play two retailers, train, publish, and show what happened."""
    os.environ.setdefault("HEADRACE_STREAM__FLUSH_S_MAX", FLUSH_S)
    settings, console = load_settings(), terminal()
    # Told to stop by whoever started it, it stops its parts as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    console.print(Rule("starting"))
    stack = Stack(settings)
    ran_before = stack.runs
    held = False
    try:
        start(stack, console)
        held = play(settings, console, stack)
        console.print(f"took {time.monotonic() - began:.0f} s; everything is kept in {settings.home}")
        if not once:
            console.print("[bold]Everything stays up: Ctrl-C stops it.[/]")
            while True:
                time.sleep(1)
    except KeyboardInterrupt:
        console.print("\nstopping")
    finally:
        if stack.runs and not ran_before:
            with console.status("stopping every part, the jobs before the servers they need"):
                stack.down()
    if not held:
        raise typer.Exit(1)


def play(settings: Settings, console: Console, stack: Stack) -> bool:
    """Deliver, wait, forecast and show; whether all of it came out as it must."""
    # Another lake has not seen what was delivered to this one.
    lake = hashlib.sha256(settings.lake_url.encode()).hexdigest()[:12]
    path = settings.home / "demo" / f"played-{lake}.json"
    today = datetime.now(UTC).date()
    played = Played.read(path, today)
    played.write(path)
    store = open_store(settings)
    with closing(Desk(settings, store)) as desk, closing(StreamView(settings, store)) as view:
        deliveries = played.next_deliveries(today)
        if deliveries is None:
            console.print(
                f"All sales up to {played.last_day} are here; the next week of them has not passed yet."
            )
            deliveries = Deliveries(
                (), played.history_last_day, played.last_day or today, demo_summary.NO_SALES
            )
        console.print(Rule("delivering"))
        ids, waited = _deliver(settings, console, stack, desk, view, deliveries)
        reports = wait_for_deliveries(view, sorted(set(ids)), DELIVERIES_WAIT_S, console)
        await_lake(settings, console)
        Played(played.history_last_day, deliveries.last_day).write(path)
        console.print(Rule("forecasting"))
        with console.status("the daily flow: seal, backtest, train, gate, publish"):
            outcome: DailyOutcome = run_daily(settings, timeout_s=DAILY_WAIT_S, as_of=deliveries.last_day)
        console.print(Rule("what happened"))
        return demo_summary.show(settings, console, store, deliveries, ids, reports, waited, outcome)


def _deliver(
    settings: Settings, console: Console, stack: Stack, desk: Desk, view: StreamView, deliveries: Deliveries
) -> tuple[Sequence[int], str]:
    """Deliver every file in order; the held pair is played so that master data is read after the sales.

    Returns:
        The id of each delivery, and what the sales that waited said while they did.
    """
    folder, ids, waited = settings.home / "demo", [], ""
    with upload_progress(console) as progress:
        task = progress.add_task("files", total=0)
        for item in deliveries.items:
            if item.held == "master":
                stack.supervisor.stop_part(MASTER_LANE)
            path = item.write(folder)
            size = path.stat().st_size
            progress.update(task, description=item.name, total=(progress.tasks[0].total or 0) + size)
            with path.open("rb") as file:
                ids.append(desk.accept(item.customer_id, item.content, item.name, file).delivery_id)
            progress.advance(task, size)
            if item.held == "sales":
                waited = _see_it_wait(view, ids[-1], item)
                stack.supervisor.start_part(MASTER_LANE)
        progress.update(task, description=f"{len(ids)} files delivered")
    return ids, waited


def _see_it_wait(view: StreamView, delivery_id: int, item: Delivery) -> str:
    """Wait until the report says that these sales wait for the location delivered before them."""
    deadline = time.monotonic() + HELD_WAIT_S
    while time.monotonic() < deadline:
        view.read_to_end()
        found = view.get(delivery_id)
        if found is not None and found.state == "judging" and found.reason:
            return f"{item.name}: {found.reason}"
        time.sleep(0.2)
    return ""


def await_lake(settings: Settings, console: Console) -> None:
    """Wait until all that was judged lies in the lake.

    Raises:
        UnavailableError: It did not within the time; the text says which job is behind.
    """
    deadline = time.monotonic() + LAG_WAIT_S
    with console.status("waiting for the lake"):
        while behind := [lag for lag in lags(settings) if lag.messages]:
            if time.monotonic() > deadline:
                raise UnavailableError(f"after {LAG_WAIT_S:g} s these are still behind: {behind}")
            time.sleep(0.3)
