"""Which sealed days are to be checked before a training, and what the lake has of them.

Guarantee: a day that an earlier run was made from is checked again only when it was sealed anew. Without an earlier run
only the last day is checked: history that came at once has no usual days of its own.
"""

from collections.abc import Collection
from datetime import date, timedelta

import polars as pl

from flows.training_data import days_sold
from infra.blobs import BlobStore
from infra.settings import FlowSettings
from lake.forecasts import runs
from lake.manifests import Manifest, load_manifest
from lake.read import Lake
from lake.scan import collect
from ml.day_checks import DayFinding, DayLimits, check_days, first_usual_day

CHECK_DAYS_MAX = 28
"""Days checked at once at most, the newest."""
RUNS_READ = 40
"""Newest runs that are looked at."""


def check_sealed_days(
    store: BlobStore, manifest: Manifest, origin: date, flow: FlowSettings, accepted: Collection[date] = ()
) -> list[DayFinding]:
    """Check the days that a forecast would learn from for the first time.

    Args:
        store: The lake.
        manifest: The sealed sales.
        origin: Last day whose sales would be used.
        flow: What the days are measured by.
        accepted: Days that an operator takes as they are.
    """
    days = [day for day in new_days(store, manifest, origin) if day not in accepted]
    return findings_of(store, manifest, days, flow) if days else []


def day_is_due(store: BlobStore, manifest: Manifest, day: date, flow: FlowSettings) -> bool:
    """Whether a day is sealed, looks whole, and no forecast was made from it yet."""
    if day not in days_sold(manifest, day):
        return False
    if any(run.origin >= day for run in runs(store, manifest.customer_id, newest=1)):
        return False
    return not any(finding.is_broken for finding in check_sealed_days(store, manifest, day, flow))


def new_days(store: BlobStore, manifest: Manifest, origin: date) -> list[date]:
    """Days up to an origin that no run was made from as they are now, in order; those without any sale too."""
    made = [run for run in runs(store, manifest.customer_id, RUNS_READ) if run.origin <= origin]
    if not made:
        return [origin]
    last = max(made, key=lambda run: (run.origin, run.manifest))
    earlier = load_manifest(store, manifest.customer_id, last.manifest)
    known = {item.day: item.sha256 for item in earlier.of("sales_daily")} if earlier else {}
    now = {item.day: item.sha256 for item in manifest.of("sales_daily")}
    first = max(origin - timedelta(days=CHECK_DAYS_MAX - 1), min(days_sold(manifest, origin)))
    days = [first + timedelta(days=number) for number in range((origin - first).days + 1)]
    return [day for day in days if day > last.origin or now.get(day) != known.get(day)]


def findings_of(
    store: BlobStore, manifest: Manifest, days: list[date], flow: FlowSettings
) -> list[DayFinding]:
    """What is not as usual on some days."""
    lake, customer_id = Lake(store), manifest.customer_id
    sums = ("location_id", "product_id", "department", "sold_on", "quantity", "revenue")
    daily = lake.daily(customer_id, first_usual_day(days), max(days), manifest).lazy().select(sums)
    lines = lake.sales(customer_id, min(days), max(days), manifest).lazy()
    events = lake.master(customer_id, "events", manifest).polars()
    limits = DayLimits(**flow.checks.model_dump())
    return check_days(
        collect(daily, store),
        collect(lines.select("sold_on", received_on=pl.col("received_at").dt.date()), store),
        _refused(lake, customer_id, days),
        days,
        set(events["date"].to_list()),
        limits,
    )


def _refused(lake: Lake, customer_id: str, days: list[date]) -> pl.DataFrame:
    """Records that are still refused by the day (UTC) on which they say they were sold."""
    rows = lake.raw("sales_error", min(days)).lazy().filter(pl.col("customer_id") == customer_id)
    standing = (
        rows.group_by("delivery_id", "position")
        .agg(pl.col("codes", "sold_at").sort_by("judged_at").last())
        .filter(pl.col("codes").list.len() > 0)
        .group_by(sold_on=pl.col("sold_at").dt.date())
        .agg(records=pl.len())
    )
    return collect(standing, lake.store)
