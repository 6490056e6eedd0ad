"""What people see of a run."""

import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from flows.pictures import range_of_totals
from flows.report import backtest_table, forecast_markdown, number, percent, verdict_markdown
from ml.backtest import Backtest, backtest, backtest_origins
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.forecast_frame import forecast_frame
from ml.panel import Panel, build_panel

LAST = date(2026, 11, 22)


@pytest.fixture(scope="module")
def panel() -> Panel:
    random = np.random.default_rng(5)
    rows = [
        (place, "bread|white", LAST - timedelta(days=back), float(random.poisson(8)))
        for place in ("a", "b")
        for back in range(90)
    ]
    schema = ["location_id", "product_id", "sold_on", "quantity"]
    daily = pl.DataFrame(rows, schema=schema, orient="row")
    places = pl.DataFrame({"location_id": ["a", "b"]})
    return build_panel(daily, places, pl.DataFrame({"product_id": ["bread|white"]}), None, None, LAST, 7)


@pytest.fixture(scope="module")
def tried(panel: Panel) -> Backtest:
    return backtest(panel, [WeekdayMean(), SeasonalNaive()], backtest_origins(panel, 2, 7), 7)


def test_numbers_are_written_as_people_read_them() -> None:
    assert percent(0.12345) == "12.3 %"
    assert percent(-0.04, signed=True) == "−4.0 %"
    assert percent(0.04, signed=True) == "+4.0 %"
    assert percent(math.nan) == number(math.inf) == "–"
    assert number(1234.5678) == "1,234.568"


def test_the_table_shows_each_models_mean_first_and_its_gain_over_the_naive(tried: Backtest) -> None:
    rows = backtest_table(tried, "seasonal_naive")
    assert [row["Model"] for row in rows] == ["weekday_mean", "seasonal_naive"] * 3
    assert rows[0]["Sales until"] == "mean of 2"
    assert rows[1]["WAPE vs naive"] == "–"
    mean = tried.metrics.filter(pl.col("origin").is_null())
    wape = dict(mean.select("model", "wape").iter_rows())
    expected = percent(wape["weekday_mean"] / wape["seasonal_naive"] - 1, signed=True)
    assert rows[0]["WAPE vs naive"] == expected


def test_a_backtest_without_origins_gives_an_empty_table(panel: Panel) -> None:
    assert backtest_table(backtest(panel, [SeasonalNaive()], [], 7), "seasonal_naive") == []


def test_the_picture_is_a_png_within_the_markdown(panel: Panel, tried: Backtest) -> None:
    forecast = WeekdayMean().fit(panel, panel.origin, 7).predict(panel, panel.origin, 7)
    text = forecast_markdown(
        "acme", panel, tried, forecast_frame(panel, forecast), "weekday_mean", "seasonal_naive"
    )
    assert "](data:image/png;base64,iVBORw0KGgo" in text
    assert "## By location (2)" in text


def test_where_the_model_errs_stands_beside_what_it_takes_off_the_naives_error(
    panel: Panel, tried: Backtest
) -> None:
    forecast = WeekdayMean().fit(panel, panel.origin, 7).predict(panel, panel.origin, 7)
    text = forecast_markdown(
        "acme", panel, tried, forecast_frame(panel, forecast), "weekday_mean", "seasonal_naive"
    )
    errors = dict(tried.groups.filter(pl.col("key") == "a").select("model", "wape").iter_rows())
    gain = percent(1 - errors["weekday_mean"] / errors["seasonal_naive"], signed=True)
    assert f"| a | {tried.groups['quantity'][0]:,.0f} | {percent(errors['weekday_mean'])} | {gain} |" in text
    # One department, one class of volume and one week ahead are the whole again.
    assert text.count("## By ") == 1


def test_a_refusal_says_why_and_what_stays_in_use() -> None:
    facts = {"Run": "r|1"}
    text = verdict_markdown("acme: refused", facts, ["too bad"], ["old sales"], {}, champion="r0")
    assert text.index("too bad") < text.index("Run r0 stays in use") < text.index("old sales")
    assert "| Run | r\\|1 |" in text
    alone = verdict_markdown("acme: refused", facts, ["too bad"], [], {}, champion=None)
    assert "no earlier forecast" in alone
    passed = verdict_markdown("acme: published", facts, [], [], {"Page": "http://x/"}, champion="r0")
    assert "stays in use" not in passed
    assert "[http://x/](http://x/)" in passed


def test_the_range_of_the_total_holds_the_share_of_the_backtests_days() -> None:
    random = np.random.default_rng(1)
    forecast = random.uniform(50, 150, 4000)
    actual = forecast * random.normal(1.05, 0.1, 4000)
    low, high = range_of_totals(actual, forecast, 0.9)
    within = (actual >= forecast * low) & (actual <= forecast * high)
    assert within.mean() == pytest.approx(0.9, abs=0.01)
    assert range_of_totals(np.zeros(3), np.zeros(3), 0.9) == (1.0, 1.0)
