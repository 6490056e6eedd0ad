"""Locations, products, prices and events of the simulated retailers, as records to deliver.

Guarantee: what is delivered is what the simulated demand went by. Each kind also holds one record that is
wrong on purpose, which ingest must refuse.
"""

from datetime import date, timedelta

import polars as pl

from cli.simulate.demand import World, price_changes
from cli.simulate.faults import good
from cli.simulate.holidays import events
from cli.simulate.retailers import Retailer, Site

_LOCATIONS = {
    "location_id": pl.String,
    "name": pl.String,
    "region": pl.String,
    "kind": pl.String,
    "time_zone": pl.String,
    "currency": pl.String,
    "opened_on": pl.String,
    "closed_on": pl.String,
    "codes": pl.String,
}
_PRODUCTS = {
    "product_id": pl.String,
    "name": pl.String,
    "department": pl.String,
    "category": pl.String,
    "unit": pl.String,
    "introduced_on": pl.Date,
    "ended_on": pl.Date,
    "codes": pl.String,
}


def location_records(world: World, sites: tuple[Site, ...], *, planned: str | None = None) -> pl.DataFrame:
    """Locations; `planned` is the id of one whose first day is no date yet, which cannot be read."""
    rows = [
        (
            site.id,
            site.name,
            site.region,
            site.kind,
            site.time_zone,
            site.currency,
            (world.day_at(site.opened) if site.opened is not None else date(2011 + place, 3, 1)).isoformat(),
            world.day_at(site.closed).isoformat() if site.closed is not None else None,
            "",
        )
        for place, site in enumerate(sites)
    ]
    if planned:
        first = sites[0]
        row = (
            planned,
            "Planned",
            first.region,
            first.kind,
            first.time_zone,
            first.currency,
            "in spring",
            None,
        )
        rows.append((*row, "unreadable_record"))
    return pl.DataFrame(rows, schema=_LOCATIONS, orient="row")


def product_records(world: World, retailer: Retailer, *, nameless: bool) -> pl.DataFrame:
    """Products; with `nameless` there is one more, that has no id."""
    departments = {department.id: department for department in retailer.departments}
    rows: list[tuple[object, ...]] = []
    for product in retailer.products:
        department = departments[product.department]
        rows.append(
            (
                product.id,
                product.name,
                department.id,
                department.category,
                "kg" if department.by_weight else "piece",
                world.day_at(product.introduced) if product.introduced is not None else None,
                world.day_at(product.ended) if product.ended is not None else None,
                "",
            )
        )
    if nameless:
        rows.append(
            (None, "(new line, id to follow)", rows[0][2], rows[0][3], "piece", None, None, "missing_field")
        )
    return pl.DataFrame(rows, schema=_PRODUCTS, orient="row")


def event_records(retailer: Retailer, first_day: date, last_day: date) -> pl.DataFrame:
    """Events from the year of the first day to a year after the last."""
    return good(events(retailer.calendar, first_day.year, last_day.year + 1))


def price_records(
    world: World, retailer: Retailer, after: date | None, last_day: date, *, negative: bool = False
) -> pl.DataFrame:
    """Prices that begin after `after` and up to `last_day`; with `negative` one more that is below zero."""
    records = good(price_changes(world, retailer, last_day))
    if after is not None:
        records = records.filter(pl.col("valid_from") > after)
    if negative:
        wrong = records.tail(1).with_columns(
            (pl.col("valid_from") + timedelta(days=400)).alias("valid_from"),
            pl.lit(-1.0).alias("unit_price"),
            pl.lit("bad_price").alias("codes"),
        )
        records = pl.concat([records, wrong])
    return records
