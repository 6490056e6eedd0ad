"""The picture of a forecast run: days sold, backtest and forecast with its range, all products together.

Guarantee: pure. Takes columns, gives the bytes of a PNG; it needs no screen and opens no window.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

HISTORY_DAYS = 84
"""Days of sales shown before the forecast."""

INK, FAINT, SOLD, AHEAD, TRIED = "#22303c", "#d7dde3", "#22303c", "#0b7285", "#c77d0a"
"""Colours, which differ in lightness too so that they can be told apart without colour."""


@dataclass(frozen=True, slots=True)
class TotalCurve:
    """Units of all products together, by day.

    Attributes:
        days: (n,) consecutive days.
        units: (n,) units a day.
    """

    days: NDArray[np.datetime64]
    units: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ForecastCurve:
    """A forecast of all products together with its range, by day.

    Attributes:
        days: (n,) consecutive days.
        mean: (n,) expected units.
        low: (n,) lower end of the range, units.
        high: (n,) upper end of the range, units.
    """

    days: NDArray[np.datetime64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def range_of_totals(
    actual: NDArray[np.float64], forecast: NDArray[np.float64], share: float
) -> tuple[float, float]:
    """How far daily totals lay from their forecasts in the backtest, as factors of a forecast.

    Quantiles of single series do not add up to a quantile of their sum, since they do not tell how the series
    move together; what the forecasts of the total missed by does.

    Args:
        actual: (n,) units sold on the days of the backtest, all products together.
        forecast: (n,) the forecast of those days.
        share: Share of the days that the range is to hold, such as 0.9.

    Returns:
        Lower and upper factor; 1 and 1 when no day can be compared.
    """
    known = forecast > 0
    if not known.any():
        return 1.0, 1.0
    low, high = np.quantile(actual[known] / forecast[known], [(1 - share) / 2, (1 + share) / 2])
    return min(float(low), 1.0), max(float(high), 1.0)


def draw_forecast(sold: TotalCurve, backtest: TotalCurve | None, ahead: ForecastCurve) -> bytes:
    """Draw the total by day.

    Args:
        sold: The sales; the last `HISTORY_DAYS` of them are drawn.
        backtest: What the model forecast for the newest days it was tried on, without having seen them.
        ahead: The forecast with its range.

    Returns:
        A PNG, 1376 × 640 pixels.
    """
    figure = Figure(figsize=(8.6, 4.0), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    days, units = sold.days[-HISTORY_DAYS:], sold.units[-HISTORY_DAYS:]
    axes.fill_between(
        ahead.days, ahead.low, ahead.high, color=AHEAD, alpha=0.16, linewidth=0, label="range of 9 days in 10"
    )
    axes.plot(days, units, color=SOLD, linewidth=1.5, label="sold")
    if backtest is not None:
        axes.plot(
            backtest.days,
            backtest.units,
            color=TRIED,
            linewidth=1.5,
            linestyle=(0, (4, 2)),
            label="forecast in the backtest",
        )
    axes.plot(ahead.days, ahead.mean, color=AHEAD, linewidth=2.0, label="forecast")
    if len(days):
        axes.axvline(days[-1], color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylabel("units a day, all locations and products", color=INK)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(mdates.WeekdayLocator(mdates.MO, interval=2))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%d %b\n%Y"))  # type: ignore[no-untyped-call]
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    image = BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
