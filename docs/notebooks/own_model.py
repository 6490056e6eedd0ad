# %% [markdown]
"""
# A model of your own, from the lake to the gate

This notebook reads a customer's sales from the lake, makes a model in thirty lines, measures it as Headrace
measures its own, and offers its forecast to the gate that the daily flow asks. It needs the lake alone: no
broker, no Prefect.

`HEADRACE_LAKE` says where the lake lies. Open it with `jupytext --to ipynb docs/notebooks/own_model.py`, or
as it is in an editor that knows cells.
"""

# %%
import datetime as dt
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from flows.run_record import backtest_of, details_of, metrics_of
from flows.training_data import read_panel
from infra.blobs import open_store
from infra.settings import load_settings
from lake.forecasts import ForecastRun, current, publish
from lake.read import Lake
from ml.backtest import backtest, backtest_origins
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.forecast_frame import expected_series, forecast_frame
from ml.gate import judge
from ml.models import FloatArray, Forecast, check_horizon, forecast_around
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import Dispersion, calibrate

settings = load_settings()
store = open_store(settings)
lake = Lake(store)
customer = lake.customers()[0]
horizon = settings.flow.horizon_days

# %% [markdown]
"""
## The sales

`sales_daily` holds one row for each location, product and day. Reading it as of a manifest pins the data: the
same number gives the same rows for ever, so whatever comes of it can be made again.
"""

# %%
manifest = lake.manifest(customer)
daily = lake.daily(customer, as_of=manifest).polars()
print(
    f"{customer}, {manifest.first_sold_on} to {manifest.last_sold_on}: {daily.height:,} rows, manifest {manifest.seq}"
)
daily.group_by("location_id").agg(
    pl.col("quantity", "revenue").sum(), pl.col("product_id").n_unique()
).sort("location_id")

# %%
by_day = daily.group_by("sold_on").agg(pl.col("quantity").sum()).sort("sold_on")
by_weekday = (
    by_day.group_by(pl.col("sold_on").dt.weekday())
    .agg(pl.col("quantity").mean())
    .sort("sold_on")
)

figure, (days, weekdays) = plt.subplots(
    1, 2, figsize=(11, 3), width_ratios=(3, 1), layout="constrained"
)
days.plot(
    by_day["sold_on"].to_numpy(),
    by_day["quantity"].to_numpy(),
    color="#8aa",
    linewidth=0.8,
)
days.plot(
    by_day["sold_on"].to_numpy(),
    by_day["quantity"].rolling_mean(7).to_numpy(),
    color="#155",
)
days.set(title="Units a day, and the mean of seven days", ylim=(0, None))
weekdays.bar(
    ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"][: by_weekday.height],
    by_weekday["quantity"].to_list(),
    color="#155",
)
weekdays.set(title="Units by weekday")
for axes in (days, weekdays):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
"""
## The panel

Models see the sales as matrices, one row a series (a product at a location), one column a day. A day without
a sale is zero where the product was on sale, and unknown everywhere else.
"""

# %%
assert manifest.last_sold_on is not None
panel = read_panel(store, manifest, manifest.last_sold_on, horizon)
print(
    f"{panel.n_series} series, {panel.origin + 1} days known, {panel.horizon_days} ahead"
)

# %% [markdown]
"""
## The model

A model has a name, and learns from the days up to an origin; what comes of that forecasts the days after one.
This one takes, for each weekday, the mean of the past weeks, of which older ones count less and less.
`calibrate` chooses how wide the quantiles must lie from forecasts whose outcome is known.
"""


# %%
@dataclass(frozen=True, slots=True)
class FadingWeeks:
    """The mean of the same weekday, in which a week counts half as much as one `half_life` weeks later."""

    half_life: float = 4.0
    dispersion: Dispersion = field(default_factory=Dispersion)
    name: str = "fading_weeks"
    notes: tuple[str, ...] = field(default=(), init=False)

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> "FadingWeeks":
        """Learn the width of the quantiles from a forecast made a horizon earlier."""
        check_horizon(panel, origin, horizon_days)
        earlier = max(origin - horizon_days, 0)
        then = np.where(
            on_sale_ahead(panel, earlier, horizon_days),
            self._mean(panel, earlier, horizon_days),
            0,
        )
        known = panel.quantity[:, earlier + 1 : origin + 1]
        return FadingWeeks(
            self.half_life, calibrate(then[:, : known.shape[1]], known), self.name
        )

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """Forecast the days after an origin; days off sale become zero."""
        check_horizon(panel, origin, horizon_days)
        mean = self._mean(panel, origin, horizon_days)
        return forecast_around(panel, origin, mean, self.dispersion, model=self.name)

    def _mean(self, panel: Panel, origin: int, horizon_days: int) -> FloatArray:
        weeks = max((origin + 1) // 7, 1)
        past = panel.quantity[:, max(origin + 1 - weeks * 7, 0) : origin + 1]
        past = np.pad(
            past, ((0, 0), (weeks * 7 - past.shape[1], 0)), constant_values=np.nan
        )
        past = past.reshape(panel.n_series, weeks, 7)
        weight = 0.5 ** (np.arange(weeks)[::-1] / self.half_life)[
            None, :, None
        ] * ~np.isnan(past)
        total = (np.nan_to_num(past) * weight).sum(axis=1)
        week = np.divide(
            total,
            weight.sum(axis=1),
            out=np.zeros_like(total),
            where=weight.sum(axis=1) > 0,
        )
        mean: FloatArray = week[:, np.arange(horizon_days) % 7].astype(np.float32)
        return mean


mine = FadingWeeks()

# %% [markdown]
"""
## The measure

The backtest stands at several days of the past, lets each model learn up to there, and judges the days after
it. Less is better in `wrmsse` and `pinball`, which the gate goes by; `coverage_90` should be near 0.9.
"""

# %%
tried = backtest(
    panel,
    [mine, SeasonalNaive(), WeekdayMean()],
    backtest_origins(panel, settings.flow.backtest_origins, horizon),
    horizon,
)
shown = ("model", "wape", "bias", "wrmsse", "pinball", "coverage_90")
tried.metrics.filter(pl.col("origin").is_null()).select(shown).sort(
    "wrmsse"
).with_columns(pl.selectors.float().round(3))

# %%
newest = tried.daily.filter(pl.col("origin") == tried.daily["origin"].max())
figure, axes = plt.subplots(figsize=(11, 3), layout="constrained")
sold = newest.filter(pl.col("model") == mine.name)
axes.plot(
    sold["date"].to_numpy(),
    sold["actual"].to_numpy(),
    color="#bbb",
    linewidth=5,
    label="sold",
)
for name, color in (
    (mine.name, "#c40"),
    (SeasonalNaive().name, "#8aa"),
    (WeekdayMean().name, "#155"),
):
    part = newest.filter(pl.col("model") == name)
    axes.plot(part["date"].to_numpy(), part["mean"].to_numpy(), color=color, label=name)
axes.set(
    title="The newest origin of the backtest, all series together, units a day",
    ylim=(0, None),
)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, ncols=4, loc="lower left")
plt.show()

# %% [markdown]
"""
## The gate

The gate that the daily flow asks refuses a forecast with a missing series, a number that cannot be, or a
model that lost against the seasonal naive or against the run that is in use now, on the same origins.
"""

# %%
forecast = mine.fit(panel, panel.origin, horizon).predict(panel, panel.origin, horizon)
rows = forecast_frame(panel, forecast)
champion = current(store, customer)
verdict = judge(
    tried,
    rows,
    expected_series(panel, forecast),
    backtest_of(champion)
    if champion is not None and champion.horizon_days == horizon
    else None,
    model=mine.name,
)
print("against", champion.model if champion else "nobody: nothing is published yet")
print("accepted" if verdict.accepted else "refused", *verdict.reasons, sep="\n  ")

# %% [markdown]
"""
## The challenge

A run is kept with its scores, whatever the verdict; only one that was accepted becomes the one that is
served. From then on the daily flow's own model has to be as good as this one on the same origins, or it stays
out.
"""

# %%
now = dt.datetime.now(dt.UTC)
run = ForecastRun(
    run_id=f"{mine.name}-{now:%Y%m%dT%H%M%S}",
    customer_id=customer,
    model=mine.name,
    manifest=manifest.seq,
    made_on=now.date(),
    origin=manifest.last_sold_on,
    horizon_days=horizon,
    accepted=verdict.accepted,
    reasons=verdict.reasons,
    metrics=metrics_of(tried, mine.name),
    details=details_of(
        tried,
        remarks=verdict.remarks,
        champion=champion.run_id if champion else None,
        rows=daily.height,
        series=panel.n_series,
        training_rows_max=settings.flow.training_rows_max,
    ),
)
publish(
    store,
    run,
    rows.with_columns(
        manifest=pl.lit(run.manifest, pl.Int64), made_on=pl.lit(run.made_on)
    ),
)
served = current(store, customer)
print("served:", served.run_id if served else "nothing")
