"""What a forecast is made from: the sealed objects that are read, and the panel that they become.

Guarantee: what is read is what `inputs_of` names, as one manifest has it; days after the origin are not read.
"""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from infra.blobs import BlobStore
from lake.manifests import Manifest, SealedObject
from lake.read import Lake
from ml.panel import Panel, build_panel
from schemas.lake_tables import MASTER_KEYS

HISTORY_DAYS_MAX = 800
"""Days of sales of single series read at most; bounds the memory."""
EARLIER_DAYS_MAX = 1_400
"""Days before those of which totals of each location's departments are read at most."""
SALES_COLUMNS = ("location_id", "product_id", "sold_on", "quantity", "revenue")


def days_sold(manifest: Manifest, through: date) -> list[date]:
    """The sealed days with sales that are not after `through`, in order."""
    return [item.day for item in manifest.of("sales_daily") if item.day is not None and item.day <= through]


def inputs_of(manifest: Manifest, origin: date) -> tuple[SealedObject, ...]:
    """The sealed objects that a forecast from an origin is made from: days of sales, and master data."""
    first = first_day_read(origin)
    days = [
        item for item in manifest.of("sales_daily") if item.day is not None and first <= item.day <= origin
    ]
    return (*days, *(item for name in MASTER_KEYS for item in manifest.of(name)))


def first_day_read(origin: date) -> date:
    """The first day whose sales count for a forecast from an origin."""
    return origin - timedelta(days=HISTORY_DAYS_MAX + EARLIER_DAYS_MAX - 1)


def read_panel(store: BlobStore, manifest: Manifest, origin: date, horizon_days: int) -> Panel:
    """Read what a forecast is made from, as the manifest has it.

    Args:
        store: The lake.
        manifest: The manifest that pins the data.
        origin: Last day whose sales are used.
        horizon_days: Days to forecast.
    """
    lake, customer_id = Lake(store), manifest.customer_id
    start = origin - timedelta(days=HISTORY_DAYS_MAX - 1)
    sold = lake.daily(customer_id, start, origin, manifest)
    daily = replace(sold, plan=sold.lazy().select(SALES_COLUMNS)).polars()
    locations, products, prices, events = (
        lake.master(customer_id, name, manifest).polars()
        for name in ("locations", "products", "prices", "events")
    )
    return build_panel(
        daily,
        locations,
        products,
        prices,
        events,
        origin,
        horizon_days,
        HISTORY_DAYS_MAX,
        earlier=_earlier_totals(lake, manifest, products, start),
    )


def _earlier_totals(lake: Lake, manifest: Manifest, products: pl.DataFrame, start: date) -> pl.DataFrame:
    """Units by location, department and day, of the days before those that are read by product."""
    sold = lake.daily(
        manifest.customer_id, start - timedelta(days=EARLIER_DAYS_MAX), start - timedelta(days=1), manifest
    )
    departments = products.lazy().select("product_id", "department")
    totals = (
        sold.lazy()
        .select("location_id", "product_id", "sold_on", "quantity")
        .join(departments, on="product_id", how="left")
        .group_by("location_id", "department", "sold_on")
        .agg(pl.col("quantity").sum())
    )
    return replace(sold, plan=totals).polars()
