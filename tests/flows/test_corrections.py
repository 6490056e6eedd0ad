"""What a late delivery changes, and that the next run says so."""

from datetime import timedelta

import polars as pl

from flows import customer_day as day
from flows.corrections import changes, corrections
from flows.training_data import read_panel
from infra.blobs import BlobStore
from lake.forecasts import ForecastRun
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, NOW, one_day


def test_days_that_were_sealed_again_are_named_with_the_change_of_the_forecast(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, _ = one_day(store)
    assert isinstance(run, ForecastRun)

    def found() -> tuple[str, ...]:
        manifest = day.seal_customer(store, "acme", NOW)
        assert manifest is not None
        trained = day.train(read_panel(store, manifest, LAST, WEEK.horizon_days), WEEK)
        return corrections(store, run, manifest, trained)

    assert found() == ()
    # A day that comes after the run's last is no correction; sales of the day before it are.
    deliver(store, "acme", LAST + timedelta(days=1), days=1, seed=2)
    assert found() == ()
    deliver(store, "acme", LAST - timedelta(days=1), days=1, seed=3, things=("dates",))
    first, second = found()
    assert first == f"1 day was sealed again since run {run.run_id}: 2026-11-21"
    assert second.startswith("on the 7 days that both forecast the sum changed by +")
    assert "dates at " in second.split("most: ")[1].split(",")[0]


def test_a_change_is_summed_over_what_both_forecast_and_names_the_series_that_changed_most() -> None:
    before = pl.DataFrame(
        {
            "location_id": ["a", "a", "b"],
            "product_id": ["x", "y", "x"],
            "date": [LAST] * 3,
            "mean": [10.0, 10.0, 20.0],
        }
    )
    after = before.with_columns(mean=pl.Series([10.0, 16.0, 18.0]))
    later = after.with_columns(date=pl.lit(LAST + timedelta(days=1)))
    (sentence,) = changes(before, pl.concat([after, later]))
    assert sentence.startswith("on the 1 days that both forecast the sum changed by +10.0%")
    assert sentence.endswith("most: y at a by +6.0, x at b by -2.0, x at a by +0.0 units")
    assert changes(before, later) == ()


def test_before_the_first_run_nothing_is_a_correction(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    manifest = day.seal_customer(store, "acme", NOW)
    assert manifest is not None
    trained = day.train(read_panel(store, manifest, LAST, WEEK.horizon_days), WEEK)
    assert corrections(store, None, manifest, trained) == ()
