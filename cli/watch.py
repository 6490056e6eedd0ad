"""The state of an installation at one moment, and a screen that goes on showing it."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.lag import lags
from cli.stack import PartView, Stack
from cli.stream_view import StreamView
from cli.tables import deliveries_table, titled
from infra.errors import UnavailableError
from infra.settings import Settings
from serving.ports import Delivery, Lag

PAUSE_S = 1.0
DELIVERIES_MAX = 50
FRAME_LINES = 7
"""Lines of the screen that belong to no row of a table."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is at one moment.

    Attributes:
        at_s: When, on a clock that only goes forward, seconds.
        parts: What each part is doing; empty where none runs here.
        lags: How far each job is behind on each partition.
        deliveries: The newest deliveries.
    """

    at_s: float
    parts: Sequence[PartView]
    lags: Sequence[Lag]
    deliveries: Sequence[Delivery]

    @staticmethod
    def of(settings: Settings, stack: Stack | None, view: StreamView) -> "Moment":
        """Look at an installation.

        Args:
            settings: Where its servers are.
            stack: Its parts; None where they run elsewhere.
            view: What the stream says of deliveries; brought up to date.

        Raises:
            MissingPartError: The stack does not run.
            UnavailableError: The brokers do not answer.
        """
        parts = list(stack.views()) if stack is not None else []
        found = lags(settings)
        view.read_to_end()
        return Moment(time.monotonic(), parts, found, view.page(None, None, None, DELIVERIES_MAX))


def watched(console: Console, look: Callable[[], Moment], rounds: int | None = None) -> None:
    """Show on the whole screen what is, until Ctrl-C.

    Args:
        console: The terminal.
        look: Tells what is; while the brokers do not answer the screen says so and keeps what it showed.
        rounds: How often to look; None means for ever.
    """
    before = now = None
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while rounds is None or rounds > 0:
                rounds = None if rounds is None else rounds - 1
                trouble = ""
                try:
                    before, now = now, look()
                except UnavailableError as error:
                    trouble = str(error)
                live.update(screen(before, now, console.height, trouble), refresh=True)
                time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            return


def screen(before: Moment | None, now: Moment | None, height: int, trouble: str = "") -> RenderableType:
    """What is shown: parts beside lags with speeds, and below them the newest deliveries.

    Args:
        before: The moment before this one, to tell speeds by; None at first.
        now: This moment; None when nothing was seen yet.
        height: Lines of the terminal.
        trouble: Why this moment could not be seen.
    """
    head = Text(trouble or f"{time.strftime('%H:%M:%S')}  Ctrl-C ends", style="red" if trouble else "dim")
    if now is None:
        return head
    parts, lag = _parts(now.parts), speed_table(before, now)
    above = [parts, lag] if now.parts else [lag]
    room = max(height - FRAME_LINES - max(table.row_count for table in above) - 4, 1)
    return Group(head, Columns(above, padding=(0, 4)), deliveries_table(now.deliveries[:room]))


def speed_table(before: Moment | None, now: Moment) -> Table:
    """How far each job is behind, and how many messages a second it has gone on since the moment before."""
    table = titled("Lag", "job", "topic")
    for column in ("behind", "a second"):
        table.add_column(column, justify="right")
    done = _done(before.lags) if before is not None else {}
    behind: dict[tuple[str, str], int] = defaultdict(int)
    for lag in now.lags:
        behind[lag.job, lag.topic] += lag.messages
    for place, count in _done(now.lags).items():
        passed_s = now.at_s - before.at_s if before is not None else 0
        speed = f"{max(count - done[place], 0) / passed_s:,.0f}" if passed_s > 0 and place in done else ""
        style = "yellow" if behind[place] else "green"
        table.add_row(*place, f"[{style}]{behind[place]:,}[/]", speed)
    return table


def _done(found: Sequence[Lag]) -> dict[tuple[str, str], int]:
    """By job and topic the sum of the offsets up to which it has come."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for lag in found:
        sums[lag.job, lag.topic] += lag.end - lag.messages
    return dict(sums)


def _parts(views: Sequence[PartView]) -> Table:
    table = titled("Parts", "part", "state", "ready")
    for view in views:
        style = "green" if view.ready else "red"
        table.add_row(view.name, view.state, f"[{style}]{'yes' if view.ready else 'no'}[/]")
    return table
