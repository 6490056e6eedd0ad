"""A forecast of any day as a file, from a lake in a directory."""

import io
from datetime import date, timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest

from flows import customer_day as day
from flows.forecast_file import make_forecast_file
from infra.blobs import BlobStore
from infra.errors import SettingError
from lake.forecasts import ForecastRun, forecast_frame
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, NOW, one_day


@pytest.fixture
def sealed(store: BlobStore) -> BlobStore:
    deliver(store, "acme", LAST)
    day.seal_customer(store, "acme", NOW)
    return store


def read(store: BlobStore, as_of: date | None) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(make_forecast_file(store, "acme", as_of, WEEK).data))


def test_the_file_holds_the_days_after_any_day_and_leaves_the_lake_as_it_was(sealed: BlobStore) -> None:
    before = sealed.stats("")
    rows = read(sealed, LAST - timedelta(days=20))
    assert rows.columns == [
        "location_id", "product_id", "date", "mean", "q05", "q10", "q25", "q50", "q75", "q90", "q95",
    ]  # fmt: skip
    assert rows.height == 8 * WEEK.horizon_days
    assert rows["date"].min() == LAST - timedelta(days=19)
    assert rows["date"].max() == LAST - timedelta(days=13)
    assert sealed.stats("") == before


def test_the_file_says_in_its_metadata_what_it_is_from(sealed: BlobStore) -> None:
    made = make_forecast_file(sealed, "acme", None, WEEK)
    schema = pq.read_schema(io.BytesIO(made.data))
    assert schema.metadata is not None
    found = {
        name: schema.metadata[f"headrace.{name}".encode()].decode() for name in ("as_of", "manifest", "model")
    }
    assert found == {"as_of": f"{LAST}", "manifest": "1", "model": "global_trees"}
    assert (schema.field("q90").metadata or {})[b"unit"] == b"the product's unit a day"
    assert made.line.startswith("acme: 8 series by global_trees, 2026-11-23 to 2026-11-29, from manifest 1")


def test_the_file_is_what_the_daily_flow_publishes_of_the_same_day(sealed: BlobStore) -> None:
    rows = read(sealed, LAST)
    run, _ = one_day(sealed)
    assert isinstance(run, ForecastRun)
    assert forecast_frame(sealed, run).select(rows.columns).equals(rows)


def test_no_sale_after_the_day_is_looked_at(sealed: BlobStore) -> None:
    past = LAST - timedelta(days=20)
    before = read(sealed, past)
    deliver(sealed, "acme", LAST, days=19, seed=9)
    day.seal_customer(sealed, "acme", NOW)
    assert read(sealed, past).equals(before)


def test_after_a_day_without_sales_the_file_still_begins_on_the_next_day(store: BlobStore) -> None:
    deliver(store, "acme", LAST - timedelta(days=2))
    day.seal_customer(store, "acme", NOW)
    made = make_forecast_file(store, "acme", LAST, WEEK)
    rows = pl.read_parquet(io.BytesIO(made.data))
    assert rows["date"].unique().sort().to_list() == [LAST + timedelta(days=n) for n in range(1, 8)]
    assert "the last sales are of 2026-11-20, 2 days before" in made.line


def test_what_cannot_be_forecast_is_said_in_words(sealed: BlobStore) -> None:
    with pytest.raises(SettingError, match="found none of 'nobody'"):
        make_forecast_file(sealed, "nobody", LAST, WEEK)
    with pytest.raises(SettingError, match="sales of 3 days"):
        make_forecast_file(sealed, "acme", LAST - timedelta(days=97), WEEK)
    with pytest.raises(SettingError, match="no sales up to 2020-01-01"):
        make_forecast_file(sealed, "acme", date(2020, 1, 1), WEEK)
