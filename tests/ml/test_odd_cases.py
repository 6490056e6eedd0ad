"""What `docs/method.md` says of odd cases, where no test of a part says it."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ml.baselines import WeekdayMean
from ml.levels import look_back
from ml.models import FittedModel, Model
from ml.panel import Panel
from ml.smoothing import Smoothing
from stream_jobs.rules import SALES_RULES
from tests.ml.conftest import Retailer, make_retailer
from tests.ml.test_models import TREES

GAP_DAYS = 21


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedModel:
    return TREES.fit(panel, panel.origin, 28)


def without_sales(retailer: Retailer, last_days: int) -> Retailer:
    """The product p0 of the location l0 sells nothing on the last days."""
    cut = retailer.last_day - timedelta(days=last_days)
    here = (pl.col("location_id") == "l0") & (pl.col("product_id") == "p0")
    return retailer.with_sales(retailer.daily.filter(~(here & (pl.col("sold_on") > cut))))


def of(panel: Panel, location: str, product: str) -> int:
    known = panel.series.with_row_index().filter(
        pl.col("location_id") == location, pl.col("product_id") == product
    )
    return int(known["index"].item())


def test_a_new_location_starts_from_what_its_products_sell_elsewhere(
    fitted: FittedModel, retailer: Retailer
) -> None:
    assert retailer.prices is not None
    coming = retailer.prices.filter(pl.col("location_id") == "l1").with_columns(
        location_id=pl.lit("new"), valid_from=retailer.last_day + timedelta(days=2)
    )
    places = pl.concat([retailer.locations, pl.DataFrame({"location_id": ["new"]})], how="diagonal")
    panel = replace(retailer, locations=places, prices=pl.concat([retailer.prices, coming])).panel()
    new = panel.series["location_id"].eq("new").to_numpy()
    models: list[FittedModel] = [WeekdayMean().fit(panel, panel.origin, 28), fitted]
    for model in models:
        mean = model.predict(panel, panel.origin, 28).mean
        assert not mean[new, 0].any()
        elsewhere = [
            look_back(panel, panel.origin).level[panel.codes.product == code].mean()
            for code in panel.codes.product[new]
        ]
        assert np.corrcoef(mean[new, 1:].mean(axis=1), elsewhere)[0, 1] > 0.75
        assert 0.3 < mean[new, 1:].mean() / np.mean(elsewhere) < 3


def test_a_day_without_a_sale_counts_as_nothing_sold_since_an_empty_shelf_does_not_show() -> None:
    retailer = make_retailer(3, 4, 200, rate=6.0)
    usual, empty = retailer.panel(), without_sales(retailer, GAP_DAYS).panel()
    series = of(usual, "l0", "p0")
    assert not empty.quantity[series, empty.origin - GAP_DAYS + 1 : empty.origin + 1].any()
    before, after = (look_back(panel, panel.origin).level[series] for panel in (usual, empty))
    assert after < 0.7 * before


def test_days_that_a_price_of_null_calls_out_of_stock_do_not_lower_the_level() -> None:
    retailer = make_retailer(3, 4, 200, rate=6.0)
    assert retailer.prices is not None
    out = retailer.last_day - timedelta(days=GAP_DAYS - 1)
    here = (pl.col("location_id") == "l0") & (pl.col("product_id") == "p0")
    said = pl.DataFrame(
        {
            "location_id": ["l0", "l0"],
            "product_id": ["p0", "p0"],
            "valid_from": [out, retailer.last_day + timedelta(days=1)],
            "unit_price": [None, 1.0],
            "promotion": [False, False],
        }
    )
    kept = retailer.prices.filter(~(here & (pl.col("valid_from") >= out)))
    told = replace(without_sales(retailer, GAP_DAYS), prices=pl.concat([kept, said])).panel()
    usual = retailer.panel()
    series = of(usual, "l0", "p0")
    assert np.isnan(told.quantity[series, told.origin - GAP_DAYS + 1 : told.origin + 1]).all()
    assert told.on_sale[series, told.origin + 1 :].all()
    before, after = (look_back(panel, panel.origin).level[series] for panel in (usual, told))
    assert after == pytest.approx(before, rel=0.2)


@pytest.mark.parametrize(
    "model", [Smoothing(), Smoothing("tsb"), WeekdayMean()], ids=lambda model: model.name
)
def test_a_product_that_just_stopped_selling_fades(model: Model) -> None:
    retailer = make_retailer(3, 4, 200, rate=6.0)
    panel = without_sales(retailer, 60).panel()
    series = of(panel, "l0", "p0")
    faded = model.fit(panel, panel.origin, 28).predict(panel, panel.origin, 28).mean[series]
    usual = retailer.panel()
    before = model.fit(usual, usual.origin, 28).predict(usual, usual.origin, 28).mean[series]
    assert faded.mean() < 0.2 * before.mean()


def test_a_return_is_refused_and_would_be_no_sale() -> None:
    assert "negative_quantity" in {rule.code for rule in SALES_RULES}
    retailer = make_retailer(2, 2, 60, rate=6.0, plans=False)
    some = retailer.daily.filter(pl.col("product_id") == "p0").head(1)
    returned = some.with_columns(quantity=pl.lit(-3.0))
    with_return = retailer.with_sales(pl.concat([retailer.daily, returned])).panel()
    np.testing.assert_array_equal(with_return.quantity, retailer.panel().quantity)
