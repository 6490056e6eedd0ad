"""How the forecast of a customer stands."""

from datetime import date, timedelta

import pytest

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError
from lake.forecast_status import ForecastStatus, load_status, mark_degraded, mark_fresh

DAY = date(2026, 11, 22)


def test_a_forecast_is_fresh_until_it_is_marked_and_again_afterwards(store: BlobStore) -> None:
    assert load_status(store, "acme") == ForecastStatus()
    mark_degraded(store, "acme", DAY, ("wrmsse is worse",), "run-1")
    assert load_status(store, "acme") == ForecastStatus("degraded", ("wrmsse is worse",), DAY, DAY, "run-1")
    assert load_status(store, "other").state == "fresh"
    mark_fresh(store, "acme", DAY)
    assert load_status(store, "acme") == ForecastStatus("fresh", as_of=DAY)


def test_it_is_degraded_since_the_first_day_that_is_missing(store: BlobStore) -> None:
    for number in range(3):
        mark_degraded(store, "acme", DAY + timedelta(days=number), (f"reason {number}",))
    found = load_status(store, "acme")
    assert (found.since, found.as_of, found.reasons) == (DAY, DAY + timedelta(days=2), ("reason 2",))


def test_a_status_that_cannot_be_read_says_what_to_do(store: BlobStore) -> None:
    store.replace("forecast_status/acme.json", b"{}")
    with pytest.raises(CorruptLakeError, match="delete it"):
        load_status(store, "acme")
