"""What the two retailers deliver, in which order, and what goes wrong on the way.

Guarantee: the same arguments give the same files, byte for byte, and a week planned later continues the same
history. All faults are put in on purpose; `Delivery.expected` counts them.
"""

import zlib
from datetime import date, timedelta

import numpy as np
import polars as pl

from cli.delivery_files import FileStyle
from cli.simulate.deliveries import Deliveries, Delivery, live_sales, numbered
from cli.simulate.demand import World
from cli.simulate.faults import good
from cli.simulate.master_data import event_records, location_records, price_records, product_records
from cli.simulate.receipts import sale_lines
from cli.simulate.retailers import RETAILERS, Retailer
from cli.simulate.sales_files import (
    GERMAN,
    NEW_SITE,
    between,
    brotzeit_sales,
    greenfield_sales,
    periods,
    sales_name,
    spoilt,
)
from infra.errors import SettingError

HISTORY_DAYS = 548
HISTORY_DAYS_MIN = 150
PRICES_AHEAD_DAYS = 35
"""So long before do the retailers plan prices and promotions: longer than a forecast."""

_GREENFIELD, _BROTZEIT = RETAILERS


def plan(seed: int, last_day: date, days: int = HISTORY_DAYS) -> Deliveries:
    """All that both retailers deliver of a history.

    Args:
        seed: Of every random draw.
        last_day: Last day with sales; prices are known some weeks further.
        days: Length of the history in days, at least 150.

    Raises:
        SettingError: The history is too short for its faults, openings and closings.
    """
    if days < HISTORY_DAYS_MIN:
        raise SettingError(f"days: expected at least {HISTORY_DAYS_MIN}, found {days}")
    world = World(seed, last_day - timedelta(days=days - 1), days)
    lines = {r.customer_id: sale_lines(world, r, world.first_day, last_day) for r in RETAILERS}
    spans = periods(world.first_day, last_day)
    items = _master_data(world, last_day)
    greenfield = greenfield_sales(world, spans, lines["greenfield"])
    brotzeit = brotzeit_sales(world, spans, lines["brotzeit"], last_day)
    # Both retailers deliver period by period: days are never far apart in the order of deliveries.
    items += sorted(greenfield + brotzeit, key=lambda item: item.name.split(".")[0].split("-")[2])
    items += _opening(world, lines["brotzeit"], last_day)
    items += _second_thoughts(world, items, lines, last_day)
    order = numbered(items)
    return Deliveries(order, world.first_day, last_day, live_sales(order))


def plan_week(
    seed: int, first_day: date, history_last_day: date | None = None, days: int = HISTORY_DAYS
) -> Deliveries:
    """What both retailers deliver of one week after the history of `plan(seed, history_last_day, days)`.

    Args:
        seed: The plan's.
        first_day: First day of the week.
        history_last_day: The plan's last day; by default the day before `first_day`. The weeks between must
            have been delivered.
        days: The plan's.

    Returns:
        The week's deliveries; `live` is what the lake holds after the plan, the weeks between and this one.

    Raises:
        SettingError: The week does not lie whole weeks after the history.
    """
    history_last_day = history_last_day or first_day - timedelta(days=1)
    gap = (first_day - history_last_day).days - 1
    if gap < 0 or gap % 7:
        raise SettingError(
            f"first_day: expected the day after {history_last_day} or whole weeks later, found {first_day}"
        )
    items = list(plan(seed, history_last_day, days).items)
    world = World(seed, history_last_day - timedelta(days=days - 1), days)
    week: tuple[Delivery, ...] = ()
    for number in range(gap // 7 + 1):
        week = numbered(_week(world, history_last_day + timedelta(days=1 + 7 * number)), len(items) + 1)
        items += week
    return Deliveries(week, world.first_day, first_day + timedelta(days=6), live_sales(items))


def _master_data(world: World, last_day: date) -> list[Delivery]:
    """Everything that sales refer to, except the location that is held back."""
    ahead = last_day + timedelta(days=PRICES_AHEAD_DAYS)
    first = world.first_day
    g, b = _GREENFIELD, _BROTZEIT
    known = tuple(site for site in b.sites if site.id != NEW_SITE)
    return [
        Delivery(
            g.customer_id,
            "locations",
            "locations.xml",
            location_records(world, g.sites, planned="VAN-3"),
            "a location whose first day is no date",
        ),
        Delivery(
            g.customer_id,
            "products",
            "products.xml",
            product_records(world, g, nameless=True),
            "a product without an id",
            FileStyle("elements"),
        ),
        Delivery(g.customer_id, "events", "events.csv", event_records(g, first, last_day)),
        Delivery(
            g.customer_id,
            "prices",
            "prices.csv.gz",
            price_records(world, g, None, ahead, negative=True),
            "a price below zero",
        ),
        Delivery(b.customer_id, "locations", "locations.csv", location_records(world, known), style=GERMAN),
        Delivery(b.customer_id, "products", "products.jsonl", product_records(world, b, nameless=False)),
        Delivery(b.customer_id, "events", "events.jsonl", event_records(b, first, last_day)),
        Delivery(b.customer_id, "prices", "prices.parquet", price_records(world, b, None, ahead)),
    ]


def _opening(world: World, lines: pl.DataFrame, last_day: date) -> list[Delivery]:
    """A location that opened midway, and all its sales: accepted in this order, ingested in the other."""
    site = next(site for site in _BROTZEIT.sites if site.id == NEW_SITE)
    first = world.day_at(site.opened or 0.0)
    return [
        Delivery(
            "brotzeit",
            "locations",
            f"locations-{NEW_SITE}.csv",
            location_records(world, (site,)),
            "held back: accepted before the sales that need it, read after them",
            GERMAN,
            held="master",
        ),
        Delivery(
            "brotzeit",
            "sales",
            sales_name(first, last_day, "jsonl", f"-{NEW_SITE}"),
            good(lines.filter(pl.col("location_id") == NEW_SITE)),
            "sales of the new location: they wait, and none is refused",
            held="sales",
        ),
    ]


def _second_thoughts(
    world: World, items: list[Delivery], lines: dict[str, pl.DataFrame], last_day: date
) -> list[Delivery]:
    """Corrections of sales that stand, refused lines sent again as they should have been, and withdrawals."""
    generator = np.random.default_rng([world.seed, zlib.crc32(b"second thoughts")])
    standing = live_sales(items)
    refused = pl.concat(
        item.records.filter(
            pl.col("codes").str.contains("unknown_product|negative_quantity|unreadable_record")
        ).select("sale_id")
        for item in items
        if item.customer_id == "greenfield" and item.content == "sales" and not item.rejected
    )
    mended = good(lines["greenfield"].join(refused, on="sale_id", how="semi"))
    corrected = _changed(standing, lines, _GREENFIELD, 40, generator)
    withdrawn = _picked(standing, _BROTZEIT, 30, generator)
    voided = good(lines["brotzeit"].join(withdrawn.head(25), on="sale_id", how="semi")).with_columns(
        pl.lit(None, dtype=pl.String).alias("product_id"),
        pl.lit(None, dtype=pl.String).alias("sold_at"),
        pl.lit(None, dtype=pl.Float64).alias("quantity"),
        pl.lit(None, dtype=pl.Float64).alias("unit_price"),
        pl.lit(value=True).alias("voided"),
    )
    raised = _raised(lines["brotzeit"].join(withdrawn.tail(5), on="sale_id", how="semi"))
    return [
        Delivery(
            "greenfield",
            "sales",
            f"sales-correction-{last_day:%Y%m%d}.xml",
            pl.concat([corrected, mended]),
            "a correction: other quantities, and refused lines as they should have been",
        ),
        Delivery(
            "brotzeit",
            "sales",
            f"sales-withdrawal-{last_day:%Y%m%d}.csv",
            pl.concat([voided, raised.with_columns(pl.lit(value=False).alias("voided"))]),
            "a withdrawal of 25 sales, and a correction of 5",
            GERMAN,
        ),
    ]


def _picked(
    standing: pl.DataFrame, retailer: Retailer, count: int, generator: np.random.Generator
) -> pl.DataFrame:
    """Ids of some standing sales of a retailer, chosen at random."""
    ids = standing.filter(pl.col("customer_id") == retailer.customer_id).select("sale_id").sort("sale_id")
    return ids[generator.choice(ids.height, size=count, replace=False)]


def _changed(
    standing: pl.DataFrame,
    lines: dict[str, pl.DataFrame],
    retailer: Retailer,
    count: int,
    generator: np.random.Generator,
) -> pl.DataFrame:
    picked = _picked(standing, retailer, count, generator)
    return _raised(lines[retailer.customer_id].join(picked, on="sale_id", how="semi"))


def _raised(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines with one more of what was sold."""
    return good(lines.with_columns(pl.col("quantity") + 1))


def _week(world: World, first_day: date) -> list[Delivery]:
    """A week of both retailers: further prices, sales with a few faults, a correction of last week's."""
    last_day = first_day + timedelta(days=6)
    before = first_day - timedelta(days=7)
    planned = first_day - timedelta(days=1) + timedelta(days=PRICES_AHEAD_DAYS)
    until = planned + timedelta(days=7)
    g, b = _GREENFIELD, _BROTZEIT
    sold = {r.customer_id: sale_lines(world, r, before, last_day) for r in RETAILERS}
    faults = {"a product never delivered": 2, "less than nothing": 1, "unreadable": 1}
    greenfield = Delivery(
        g.customer_id,
        "sales",
        sales_name(first_day, last_day, "xml"),
        between(sold["greenfield"], first_day, last_day),
    )
    earlier = sold["greenfield"].filter(
        pl.col("sold_on").is_between(before, first_day - timedelta(days=1))
        & pl.col("location_id").eq("WPG-1")
    )
    return [
        Delivery(
            g.customer_id, "prices", f"prices-{planned:%Y%m%d}.csv", price_records(world, g, planned, until)
        ),
        Delivery(
            b.customer_id, "prices", f"prices-{planned:%Y%m%d}.jsonl", price_records(world, b, planned, until)
        ),
        spoilt(world, greenfield, faults),
        Delivery(
            b.customer_id,
            "sales",
            sales_name(first_day, last_day, "jsonl"),
            between(sold["brotzeit"], first_day, last_day),
        ),
        Delivery(
            g.customer_id,
            "sales",
            f"sales-correction-{last_day:%Y%m%d}.xml",
            _raised(earlier.head(10)),
            "a correction of last week's sales",
        ),
    ]
