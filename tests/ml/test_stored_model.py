"""Forecasts as tables, and models as bytes."""

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
import skops.io

from infra.errors import CorruptLakeError
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.forecast_frame import QUANTILE_COLUMNS, expected_series, forecast_frame
from ml.global_trees import FittedTrees, GlobalTrees
from ml.panel import Panel
from ml.stored_model import load_model, save_model
from tests.ml.conftest import Retailer


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedTrees:
    fitted = GlobalTrees(rows_max=3_000, trees=10).fit(panel, panel.origin, 28)
    assert isinstance(fitted, FittedTrees)
    return fitted


def test_a_model_that_was_stored_forecasts_the_same(panel: Panel, fitted: FittedTrees) -> None:
    again = load_model(save_model(fitted))
    before, after = (model.predict(panel, panel.origin, 28) for model in (fitted, again))
    assert before.mean.tobytes() == after.mean.tobytes()
    assert before.quantiles.tobytes() == after.quantiles.tobytes()
    assert (before.model, before.notes) == (after.model, after.notes)


def test_a_stand_in_is_stored_with_its_name_and_reason(panel: Panel) -> None:
    fitted = WeekdayMean("global_trees", ("Too short.",)).fit(panel, panel.origin, 28)
    assert load_model(save_model(fitted)) == fitted


def test_bytes_that_ask_for_another_type_are_refused() -> None:
    with pytest.raises(CorruptLakeError, match=r"subprocess\.Popen"):
        load_model(skops.io.dumps({"format": 2, "trees": subprocess.Popen}))
    with pytest.raises(CorruptLakeError, match="not trusted"):
        load_model(skops.io.dumps({"format": 2, "trees": shutil.rmtree}))


def test_bytes_that_are_no_model_are_refused(fitted: FittedTrees) -> None:
    for data in (b"", b"no model", save_model(fitted)[:-200]):
        with pytest.raises(CorruptLakeError, match="no stored model"):
            load_model(data)
    with pytest.raises(CorruptLakeError, match="format 2"):
        load_model(skops.io.dumps({"format": 1}))


def test_a_forecast_becomes_a_row_for_each_series_and_day(panel: Panel) -> None:
    forecast = WeekdayMean().fit(panel, panel.origin, 28).predict(panel, panel.origin, 28)
    frame = forecast_frame(panel, forecast)
    assert frame.columns == ["location_id", "product_id", "date", "mean", *QUANTILE_COLUMNS, "model"]
    assert frame.height == panel.n_series * 28
    assert frame.equals(frame.sort("location_id", "product_id", "date"))
    row = frame.row(28 * 7 + 5, named=True)
    assert row["date"] == panel.day(panel.origin + 6)
    assert (row["location_id"], row["product_id"]) == panel.series.select("location_id", "product_id").row(7)
    assert row["mean"] == forecast.mean[7, 5]
    assert [row[name] for name in QUANTILE_COLUMNS] == forecast.quantiles[7, 5].tolist()


def test_a_series_off_sale_on_all_days_ahead_has_no_rows(retailer: Retailer) -> None:
    ended = retailer.products.with_columns(
        ended_on=pl.when(pl.col("product_id") == "p3").then(pl.lit(retailer.last_day)).cast(pl.Date)
    )
    panel = Retailer(retailer.daily, retailer.locations, ended, None, None, retailer.last_day).panel()
    forecast = SeasonalNaive().predict(panel, panel.origin, 28)
    frame, expected = forecast_frame(panel, forecast), expected_series(panel, forecast)
    assert "p3" not in frame["product_id"].to_list()
    assert expected.height == panel.n_series - panel.series.filter(pl.col("product_id") == "p3").height
    assert frame.select("location_id", "product_id").unique(maintain_order=True).equals(expected)
    assert np.isfinite(frame["mean"].to_numpy()).all()
