"""The gate refuses what must not be published, in words."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from ml.backtest import METRICS, Backtest
from ml.forecast_frame import QUANTILE_COLUMNS
from ml.gate import Limits, Verdict, judge

HORIZON = 3
DAYS = [date(2025, 5, 1) + timedelta(days=number) for number in range(HORIZON)]
SERIES = pl.DataFrame({"location_id": ["a", "a", "b"], "product_id": ["x", "y", "x"]})
ORIGINS = [date(2025, 3, 1), date(2025, 4, 1)]


def metrics(model: str, wrmsse: list[float], pinball: list[float] | None = None) -> pl.DataFrame:
    values = dict.fromkeys(METRICS, [0.5] * len(wrmsse)) | {
        "coverage_90": [0.9] * len(wrmsse),
        "wrmsse": wrmsse,
        "pinball": pinball or [0.3] * len(wrmsse),
    }
    return pl.DataFrame({"model": [model] * len(wrmsse), "origin": ORIGINS[: len(wrmsse)], **values})


def found(wrmsse: list[float], naive: list[float], pinball: list[float] | None = None) -> Backtest:
    easy = [10 * value for value in naive]
    models = [metrics("global_trees", wrmsse, pinball), metrics("seasonal_naive", naive)]
    rows = pl.concat([*models, metrics("weekday_mean", easy)])
    return Backtest(HORIZON, rows, pl.DataFrame(), pl.DataFrame(), pl.DataFrame())


def with_locations(*rows: tuple[str, str, float, float]) -> Backtest:
    """The good backtest with (model, location, units sold, bias) of its locations."""
    columns = ["model", "key", "quantity", "bias"]
    groups = pl.DataFrame(rows, schema=columns, orient="row").with_columns(level=pl.lit("location"))
    return replace(GOOD, groups=groups)


GOOD = found([0.6, 0.7], [0.8, 0.9])


def frame() -> pl.DataFrame:
    rows = SERIES.join(pl.DataFrame({"date": DAYS}), how="cross").with_columns(mean=pl.lit(1.0))
    return rows.with_columns(
        pl.lit(float(number)).alias(name) for number, name in enumerate(QUANTILE_COLUMNS)
    )


def with_cell(column: str, value: float | None) -> pl.DataFrame:
    first = pl.int_range(pl.len()) == 4
    return frame().with_columns(
        pl.when(first).then(pl.lit(value, pl.Float64)).otherwise(column).alias(column)
    )


def test_a_good_forecast_of_a_better_model_is_accepted() -> None:
    assert judge(GOOD, frame(), SERIES, metrics("global_trees", [0.6, 0.7])) == Verdict(True, ())


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        (frame().filter(pl.col("location_id") != "b"), "1 of 3 series have no forecast, such as x at b."),
        (frame().head(-1), "1 series do not have one row for each of 3 days, such as x at b."),
        (
            pl.concat([frame(), frame().head(1)]),
            "1 series do not have one row for each of 3 days, such as x at a.",
        ),
        (with_cell("mean", float("nan")), "1 rows have a number that is not finite."),
        (with_cell("q95", float("inf")), "1 rows have a number that is not finite."),
        (with_cell("mean", None), "1 rows have a number that is not finite."),
        (with_cell("q05", -0.5), "1 rows have a negative number."),
        (with_cell("q50", 4.5), "1 rows have quantiles that cross."),
    ],
)
def test_a_faulty_forecast_is_refused_in_words(forecast: pl.DataFrame, words: str) -> None:
    verdict = judge(GOOD, forecast, SERIES, None)
    assert not verdict.accepted
    assert verdict.reasons == (words,)


def test_a_model_that_loses_against_the_seasonal_naive_is_refused() -> None:
    verdict = judge(found([0.8, 0.91], [0.8, 0.9]), frame(), SERIES, None)
    assert not verdict.accepted
    assert verdict.reasons == (
        "wrmsse is 0.8550, worse than 0.8500 of the seasonal_naive model, on 2 origins.",
    )


def test_a_model_whose_range_is_worse_is_refused_although_its_mean_is_better() -> None:
    verdict = judge(found([0.6, 0.7], [0.8, 0.9], [0.4, 0.4]), frame(), SERIES, None)
    assert {reason.split()[0] for reason in verdict.reasons} == {"pinball"}


def test_the_champion_may_be_missed_by_the_tolerance_only() -> None:
    assert judge(GOOD, frame(), SERIES, metrics("global_trees", [0.59, 0.69])).accepted
    verdict = judge(GOOD, frame(), SERIES, metrics("global_trees", [0.5, 0.6]))
    assert not verdict.accepted
    assert "the published run's model (up to 2% more is allowed)" in verdict.reasons[0]


def test_the_champion_is_compared_on_common_origins_only() -> None:
    # It was better on the first origin, which alone both were judged on.
    assert not judge(GOOD, frame(), SERIES, metrics("global_trees", [0.5])).accepted
    elsewhere = metrics("global_trees", [0.1]).with_columns(origin=date(2024, 1, 1))
    verdict = judge(GOOD, frame(), SERIES, elsewhere)
    assert verdict.accepted
    assert verdict.remarks == ("No origin in common with the published run's model: not compared.",)


def test_what_cannot_be_compared_is_remarked_and_not_refused() -> None:
    nothing = float("nan")
    verdict = judge(found([nothing], [nothing]), frame(), SERIES, None)
    assert verdict.accepted
    assert len(verdict.remarks) == 2
    verdict = judge(found([], []), frame(), SERIES, None)
    assert verdict.accepted
    assert "too short" in verdict.remarks[0]


def test_a_model_that_loses_against_the_weekday_mean_by_more_than_chance_is_refused() -> None:
    def beside(weekday_mean: float) -> Backtest:
        others = GOOD.metrics.filter(pl.col("model") != "weekday_mean")
        return replace(GOOD, metrics=pl.concat([others, metrics("weekday_mean", [weekday_mean] * 2)]))

    assert judge(beside(0.64), frame(), SERIES, None).accepted
    verdict = judge(beside(0.6), frame(), SERIES, None)
    assert "of the weekday_mean model (up to 2% more is allowed)" in verdict.reasons[0]


def test_a_location_that_is_far_off_in_sum_is_named_unless_nobody_could_know() -> None:
    naive = ("seasonal_naive", "a", 500.0, 0.02), ("seasonal_naive", "b", 500.0, -0.6)
    off = with_locations(*naive, ("global_trees", "a", 500.0, 0.45), ("global_trees", "b", 500.0, -0.5))
    verdict = judge(off, frame(), SERIES, None)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("The forecasts of 1 locations were off in sum by more than 30%")
    assert verdict.reasons[0].endswith("than by the seasonal_naive model: a by +45%.")
    assert judge(off, frame(), SERIES, None, limits=Limits(bias_max=0.5)).accepted
    small = with_locations(*naive, ("global_trees", "a", 50.0, 0.45))
    assert judge(small, frame(), SERIES, None).accepted


def test_a_range_that_holds_too_few_days_is_refused() -> None:
    narrow = replace(GOOD, metrics=GOOD.metrics.with_columns(coverage_90=pl.lit(0.6)))
    verdict = judge(narrow, frame(), SERIES, None)
    assert verdict.reasons == ("The range from q05 to q95 held 60% of the days, expected at least 75%.",)
