"""What a published forecast was made of."""

import math
from datetime import timedelta

import polars as pl
import pytest

from flows.explaining import explain_forecast
from infra.blobs import BlobStore
from infra.errors import SettingError
from infra.settings import FlowSettings
from lake.forecasts import ForecastRun, forecast_frame
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, one_day
from tests.flows.test_reproduction import THINGS, TREES

DAY = LAST + timedelta(days=3)


@pytest.mark.parametrize("learner", ["lightgbm", "hist_gradient_boosting"])
def test_the_parts_multiply_to_the_published_forecast(store: BlobStore, learner: str) -> None:
    deliver(store, "acme", LAST, days=110, things=THINGS)
    run, _ = one_day(store, flow=FlowSettings(**{**TREES.model_dump(), "learner": learner}))
    assert isinstance(run, ForecastRun)
    _, found = explain_forecast(store, "acme", "north", "thing-003", DAY, run.run_id)
    published = forecast_frame(store, run).row(
        by_predicate=(pl.col("location_id") == "north")
        & (pl.col("product_id") == "thing-003")
        & (pl.col("date") == DAY),
        named=True,
    )
    assert found.mean == published["mean"]
    assert found.quantiles[0] == published["q05"]
    product = found.expected * found.base * float(found.features["factor"].product()) * found.correction
    assert product == pytest.approx(found.mean, rel=1e-5)
    assert {"mean_7", "weekday", "department"} <= set(found.features["feature"])
    logs = found.features["factor"].log().abs().to_list()
    assert logs == sorted(logs, reverse=True)
    assert logs[0] > 0
    assert 0.5 <= found.correction <= 2
    assert set(found.baselines) == {"seasonal_naive", "weekday_mean"}
    assert all(math.isfinite(value) for value in found.baselines.values())


def test_a_stand_in_has_no_features_and_says_why(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    one_day(store)
    _, found = explain_forecast(store, "acme", "north", "apple", DAY)
    assert found.features.is_empty()
    assert found.mean == found.baselines["weekday_mean"] == found.expected
    assert "the weekday mean stands in" in found.notes[0]


def test_what_was_not_forecast_is_said_with_what_was(store: BlobStore) -> None:
    with pytest.raises(SettingError, match="expected a run of customer acme"):
        explain_forecast(store, "acme", "north", "apple", DAY)
    deliver(store, "acme", LAST)
    one_day(store)
    with pytest.raises(SettingError, match="--day: expected one of the 7 days after 2026-11-22"):
        explain_forecast(store, "acme", "north", "apple", LAST)
    with pytest.raises(
        SettingError, match="--product: expected one such as apple, bread, cheese, found pear"
    ):
        explain_forecast(store, "acme", "north", "pear", DAY)
