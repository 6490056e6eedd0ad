"""What a person is shown in the terminal, as tables."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.stack import PartView
from flows.trigger import DailyOutcome
from ml.explanation import Explanation
from serving.ports import Delivery, Lag

STATE_STYLES = {
    "done": "green",
    "rejected": "red",
    "judging": "yellow",
    "reading": "yellow",
    "accepted": "yellow",
}


FILE_CHARS = 160
"""Width of what is printed into a file or a pipe."""


def terminal() -> Console:
    """Where a person is shown something."""
    found = Console()
    return found if found.is_terminal else Console(width=FILE_CHARS)


def titled(title: str, *columns: str) -> Table:
    """An empty table with a title."""
    return Table(
        *columns, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )


def frame_table(title: str, rows: pl.DataFrame) -> Table:
    """The rows of a frame; what is null is left empty."""
    table = titled(title, *rows.columns)
    for row in rows.iter_rows():
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    return table


def parts_table(views: Sequence[PartView]) -> Table:
    """What each part is doing."""
    table = titled("Parts", "part", "state", "ready", "")
    for view in views:
        style = "green" if view.ready else "red"
        table.add_row(
            view.name, view.state, f"[{style}]{'yes' if view.ready else 'no'}[/]", view.url or view.detail
        )
    return table


def lag_table(found: Sequence[Lag]) -> Table:
    """How far each job is behind."""
    behind: dict[tuple[str, str], list[int]] = defaultdict(list)
    for lag in found:
        behind[lag.job, lag.topic].append(lag.messages)
    table = titled("Lag", "job", "topic")
    for column in ("partitions", "messages behind"):
        table.add_column(column, justify="right")
    for (job, topic), messages in behind.items():
        table.add_row(job, topic, str(len(messages)), f"{sum(messages):,}")
    return table


def partition_lag_table(found: Sequence[Lag]) -> Table:
    """How far each job is behind on each partition."""
    table = titled("Lag", "job", "topic")
    for column in ("partition", "messages behind", "end"):
        table.add_column(column, justify="right")
    for lag in found:
        table.add_row(lag.job, lag.topic, str(lag.partition), f"{lag.messages:,}", f"{lag.end:,}")
    return table


def deliveries_table(deliveries: Sequence[Delivery]) -> Table:
    """What became of deliveries, newest first."""
    table = titled("Deliveries", "id", "customer")
    table.add_column("file", overflow="fold")
    table.add_column("state")
    for column in ("records", "valid", "refused"):
        table.add_column(column, justify="right")
    table.add_column("why", overflow="fold", ratio=1)
    for view in deliveries:
        by_code = ", ".join(f"{count:,} {code}" for code, count in sorted(view.by_code.items()))
        state = f"[{STATE_STYLES[view.state]}]{view.state}[/]"
        counts = (f"{view.records:,}", f"{view.valid:,}", f"{view.invalid:,}")
        table.add_row(
            str(view.delivery_id), view.customer_id, view.name, state, *counts, view.reason or by_code
        )
    return table


def backtest_table(outcome: DailyOutcome) -> Table:
    """How the models of a daily run did in the backtest, by customer."""
    table = titled("Backtest", "customer", "outcome", "model")
    for column in ("WAPE", "bias", "pinball", "coverage"):
        table.add_column(column, justify="right")
    for customer in outcome.customers:
        first: tuple[str, str] = (customer.customer_id, customer.verdict)
        for score in customer.scores:
            pinball = "" if score.pinball is None else f"{score.pinball:.3f}"
            coverage = "" if score.coverage is None else f"{score.coverage:.1%}"
            table.add_row(*first, score.model, f"{score.wape:.3f}", f"{score.bias:+.1%}", pinball, coverage)
            first = ("", "")
    return table


def explanation_table(title: str, found: Explanation, features: int) -> Table:
    """What a forecast was made of: parts that multiply to it, then what simple models say.

    Args:
        title: What was forecast.
        found: What it was made of.
        features: Features shown by themselves; the others are one line.
    """
    table = titled(title, "part", "value")
    for column in ("factor", "units"):
        table.add_column(column, justify="right")
    units = found.expected
    table.add_row("expected from level and weekday", "", "", f"{units:.3f}")
    shown = [("what the trees add to every day", "", found.base)]
    shown += [
        (row["feature"], "unknown" if math.isnan(row["value"]) else f"{row['value']:.4g}", row["factor"])
        for row in found.features.head(features).iter_rows(named=True)
    ]
    others = found.features.slice(features)
    if others.height:
        shown.append((f"{others.height} further features", "", float(others["factor"].product())))
    shown.append(("the department's own forecast", "", found.correction))
    for name, value, factor in shown if found.features.height else ():
        units *= factor
        table.add_row(name, value, f"× {factor:.3f}", f"{units:.3f}")
    table.add_section()
    table.add_row("[bold]forecast[/]", "", "", f"[bold]{found.mean:.3f}[/]")
    for name, mean in found.baselines.items():
        table.add_row(name, "", "", f"{mean:.3f}")
    return table


def refused_table(reports: Sequence[Delivery]) -> Table:
    """Refused records by customer and code."""
    counts: Counter[tuple[str, str]] = Counter()
    for report in reports:
        for code, count in report.by_code.items():
            counts[report.customer_id, code] += count
    table = titled("Refused records by reason", "customer", "reason")
    table.add_column("records", justify="right")
    for (customer, code), count in sorted(counts.items()):
        table.add_row(customer, code, f"{count:,}")
    return table
