"""What the Prefect UI shows of a run: the backtest as a table, the verdict and the picture as Markdown.

Guarantee: pure; numbers are rounded for people here and nowhere else.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from flows.pictures import ForecastCurve, TotalCurve, draw_forecast, range_of_totals
from ml.backtest import Backtest
from ml.panel import Panel
from ml.slices import value_added

RANGE_SHARE = 0.9
"""Share of the days that the picture's range is to hold."""
WORST_SHOWN = 8
"""Locations and departments shown with their errors, those with most sales first."""


def percent(value: float, *, signed: bool = False, digits: int = 1) -> str:
    """A share as a person reads it: `12.3 %`, `−4.0 %`; a dash when it is not defined."""
    if not math.isfinite(value):
        return "–"
    text = f"{100 * value:+.{digits}f} %" if signed else f"{100 * value:.{digits}f} %"
    return text.replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A number as a person reads it; a dash when it is not defined."""
    return f"{value:,.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def backtest_table(backtest: Backtest, baseline: str) -> list[dict[str, str]]:
    """The backtest as rows of a table artifact: the means of all models first, then the single origins.

    Args:
        backtest: What the backtest found.
        baseline: Name of the model that the others are compared with.
    """
    metrics = backtest.metrics
    origins = metrics["origin"].drop_nulls().unique().sort().to_list()
    if not origins:
        return []
    naive = dict(metrics.filter(pl.col("model") == baseline).select("origin", "wape").iter_rows())
    rows = []
    for origin in (None, *origins):
        for row in metrics.filter(pl.col("origin").eq_missing(pl.lit(origin, pl.Date))).iter_rows(named=True):
            compared = naive.get(origin, math.nan) if row["model"] != baseline else math.nan
            gain = row["wape"] / compared - 1 if compared > 0 else math.nan
            rows.append(
                {
                    "Model": row["model"],
                    "Sales until": f"mean of {len(origins)}" if origin is None else f"{origin}",
                    "WAPE": percent(row["wape"]),
                    "WAPE vs naive": percent(gain, signed=True),
                    "Bias": percent(row["bias"], signed=True),
                    "In 90 % range": percent(row["coverage_90"]),
                    "WRMSSE": number(row["wrmsse"]),
                    "Pinball": number(row["pinball"]),
                    "In 50 % range": percent(row["coverage_50"]),
                    "Series": f"{row['series']:,}",
                }
            )
    return rows


def verdict_markdown(
    title: str,
    facts: Mapping[str, str],
    reasons: Sequence[str],
    remarks: Sequence[str],
    links: Mapping[str, str],
    *,
    champion: str | None,
) -> str:
    """The gate's verdict with its reasons.

    Args:
        title: What became of the run, such as "acme: refused".
        facts: What the run is, by name.
        reasons: Why it was refused; empty when it was not.
        remarks: What else a reader should know.
        links: Addresses by what they lead to; those that are not web addresses are shown as they are.
        champion: The run that was in use before; None before the first.
    """
    stays = f"Run {champion} stays in use." if champion else "There is no earlier forecast to stay in use."
    parts = [f"# {title}"]
    if reasons:
        parts += ["## Why it was refused", _listed(reasons), stays]
    if remarks:
        parts += ["## To note", _listed(remarks)]
    parts.append(
        "\n".join(["| | |", "|:--|:--|", *(f"| {_cell(k)} | {_cell(v)} |" for k, v in facts.items())])
    )
    if links:
        parts += [
            "## Where it lies",
            _listed([f"{name}: {_link(address)}" for name, address in links.items()]),
        ]
    return "\n\n".join(parts) + "\n"


def forecast_markdown(
    title: str, panel: Panel, backtest: Backtest, forecast: pl.DataFrame, model: str, baseline: str
) -> str:
    """The picture of a forecast, and where the model errs, as Markdown.

    Args:
        title: What stands above it.
        panel: What the model was fitted to.
        backtest: What the backtest found.
        forecast: location_id, product_id, date, mean.
        model: Name of the model.
        baseline: Name of the simple model that it is compared with.
    """
    image = b64encode(_picture(panel, backtest, forecast, model)).decode("ascii")
    parts = [f"# {title}", f"![Units sold and forecast by day, all products](data:image/png;base64,{image})"]
    if backtest.daily.height:
        parts.append(
            "The range is that of the daily total's errors in the backtest: nine days in ten lay within it."
        )
    against = value_added(backtest.groups, baseline).filter(pl.col("model") == model)
    parts += [
        table for level in against["level"].unique(maintain_order=True) if (table := _errors(against, level))
    ]
    return "\n\n".join(parts) + "\n"


def _errors(rows: pl.DataFrame, level: str) -> str:
    """Where a model errs on one level, the largest keys in their order; nothing for a level with one key."""
    rows = rows.filter(pl.col("level") == level)
    shown = rows.filter(pl.col("quantity").rank("ordinal", descending=True) <= WORST_SHOWN)
    if shown.height < 2:
        return ""
    of = f"largest {shown.height} of {rows.height}" if rows.height > shown.height else f"{rows.height}"
    lines = [
        f"## By {level} ({of})\n",
        f"| {level.capitalize()} | Units in the backtest | WAPE | Less error than the naive | Bias | In 90 % range |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {_cell(row['key'] or 'none given')} | {row['quantity']:,.0f} | {percent(row['wape'])} "
        f"| {percent(row['value_added'] if row['value_added'] is not None else math.nan, signed=True)} "
        f"| {percent(row['bias'], signed=True)} | {percent(row['coverage_90'])} |"
        for row in shown.iter_rows(named=True)
    ]
    return "\n".join(lines)


def _picture(panel: Panel, backtest: Backtest, forecast: pl.DataFrame, model: str) -> bytes:
    sold = np.asarray(np.nansum(panel.quantity[:, : panel.origin + 1], axis=0, dtype=np.float64))
    ahead = forecast.group_by("date").agg(pl.col("mean").sum().cast(pl.Float64)).sort("date")
    tried = backtest.daily.filter(pl.col("model") == model)
    factors = range_of_totals(tried["actual"].to_numpy(), tried["mean"].to_numpy(), RANGE_SHARE)
    newest = tried.filter(pl.col("origin") == pl.col("origin").max()).sort("date")
    mean = ahead["mean"].to_numpy()
    return draw_forecast(
        TotalCurve(panel.days[: panel.origin + 1], sold),
        TotalCurve(newest["date"].to_numpy(), newest["mean"].to_numpy()) if newest.height else None,
        ForecastCurve(ahead["date"].to_numpy(), mean, mean * factors[0], mean * factors[1]),
    )


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _link(address: str) -> str:
    return f"[{address}]({address})" if address.startswith(("http://", "https://")) else f"`{address}`"


def _cell(text: str) -> str:
    """Text that stays in its cell of a table, whatever an id holds."""
    return text.replace("|", "\\|").replace("\n", " ")
