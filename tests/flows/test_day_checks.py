"""Which days are checked before a training, on a lake in a directory."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from flows import customer_day as day
from flows.day_checks import check_sealed_days, new_days
from flows.plan import Plan
from flows.publication import mark_status
from infra.blobs import BlobStore
from lake.append import AppendTable
from lake.forecast_status import load_status
from lake.forecasts import ForecastRun, current
from lake.manifests import Manifest
from schemas.lake_tables import LAKE_TABLES, empty_frame
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, NOW, one_day

YESTERDAY = LAST - timedelta(days=1)


def sealed(store: BlobStore) -> Manifest:
    manifest = day.seal_customer(store, "acme", NOW)
    assert manifest is not None
    return manifest


def test_without_an_earlier_run_the_last_day_is_checked_and_later_each_new_or_changed_one(
    store: BlobStore,
) -> None:
    deliver(store, "acme", LAST - timedelta(days=3))
    assert new_days(store, sealed(store), LAST - timedelta(days=3)) == [LAST - timedelta(days=3)]
    one_day(store, through=LAST - timedelta(days=3))
    assert new_days(store, sealed(store), LAST - timedelta(days=3)) == []
    # A day in between has no sale at all, and one that is long over has a late one.
    deliver(store, "acme", LAST - timedelta(days=9), days=1, seed=7)
    deliver(store, "acme", LAST, days=2)
    assert new_days(store, sealed(store), LAST) == [LAST - timedelta(days=back) for back in (9, 2, 1, 0)]


def test_a_broken_day_holds_the_training_and_the_forecast_in_use_stays(store: BlobStore) -> None:
    deliver(store, "acme", YESTERDAY)
    run, _ = one_day(store, through=YESTERDAY)
    assert isinstance(run, ForecastRun)
    deliver(store, "acme", LAST, days=1, things=("apple",))
    findings = check_sealed_days(store, sealed(store), LAST, WEEK)
    assert [(one.day, one.code, one.is_broken) for one in findings] == [(LAST, "rows", True)]
    held = day.held_outcome(sealed(store), Plan(LAST), findings)
    assert held is not None
    assert "2026-11-22: 2 rows of daily sums, 8 are usual" in held.line
    assert held.reasons[-1].endswith("headrace daily --customer acme --accept 2026-11-22")
    mark_status(store, held, LAST)
    assert current(store, "acme") == run
    assert load_status(store, "acme").reasons == held.reasons
    # It is taken as it is, or mended.
    assert check_sealed_days(store, sealed(store), LAST, WEEK, [LAST]) == []
    deliver(store, "acme", LAST, days=1, things=("bread", "cheese", "dates"), seed=3)
    assert check_sealed_days(store, sealed(store), LAST, WEEK) == []


def test_refused_records_of_a_day_are_counted_once_they_are_judged_for_good(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    lines = sealed(store).of("sales_sealed")[-1].rows
    refused(store, LAST, lines, codes=["unknown_location"])
    (finding,) = check_sealed_days(store, sealed(store), LAST, WEEK)
    assert finding.text.startswith(f"{lines} of {2 * lines} records were refused")
    refused(store, LAST, lines, codes=[])
    assert check_sealed_days(store, sealed(store), LAST, WEEK) == []


def refused(store: BlobStore, sold_on: date, count: int, codes: list[str]) -> None:
    """Append records that were refused, or are valid after all when there are no codes."""
    table = AppendTable(store, "sales_error")
    end = table.chain_end(0)
    first = end.next_offset if end else 0
    noon = datetime.combine(sold_on, time(12), UTC)
    judged_at = NOW + timedelta(hours=first)
    schema = LAKE_TABLES["sales_error"].file_schema
    rows = [
        dict.fromkeys(schema.names)
        | {"customer_id": "acme", "delivery_id": 9, "position": number, "codes": codes, "messages": codes,
           "content": "sales", "original": b"",
           "received_at": NOW, "judged_at": judged_at, "sold_at": noon}
        for number in range(count)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=empty_frame(schema).schema)
    table.append(0, first, first + count, judged_at, frame, end)
