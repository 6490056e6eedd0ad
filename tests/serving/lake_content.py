"""A small retailer's lake, written by the lake's own functions: sales, refused records and forecasts."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from infra.blobs import BlobStore
from lake import forecasts as lake_forecasts
from lake.append import AppendTable
from lake.forecasts import ForecastRun
from lake.seal import seal
from schemas.lake_tables import LAKE_TABLES, polars_schema
from serving.forecast_run import QUANTILES

CUSTOMER = "corner-shops"
LAST_DAY = date(2026, 11, 20)
DAYS = 40
HORIZON = 28
PLACES = {"berlin-1": "Berlin Mitte", "berlin-2": "Berlin Wedding", "graz-1": "Graz, Hauptplatz"}
THINGS = {"bread-rye": "Rye bread", "milk-1l": "Whole milk 1 l"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEVELS = (-1.64, -1.28, -0.67, 0.0, 0.67, 1.28, 1.64)


def series_of(places: Sequence[str], things: Sequence[str]) -> list[tuple[str, str]]:
    return [(place, thing) for place in places for thing in things]


def expected(place: str, thing: str, day: date) -> float:
    """What sells on a day: a level of the series, more on Saturdays, a slow swing over the year."""
    level = 6 + 5 * (sum(f"{place}{thing}".encode()) % 9)
    week = (1.0, 0.95, 0.9, 1.0, 1.25, 1.6, 0.35)[day.weekday()]
    return level * week * (1 + 0.15 * math.sin(2 * math.pi * day.timetuple().tm_yday / 365))


def sales(
    places: dict[str, str], things: dict[str, str], days: Sequence[date], customer_id: str = CUSTOMER
) -> pl.DataFrame:
    """One line a series and day, as the join job writes it; whole quantities, never nothing."""
    numbers = np.random.default_rng(7)
    keys = [(place, thing, day) for place, thing in series_of(list(places), list(things)) for day in days]
    amounts = [float(max(1, numbers.poisson(expected(*key)))) for key in keys]
    made = {
        "customer_id": customer_id,
        "delivery_id": 3,
        "received_at": NOON,
        "unit_price": 1.5,
        "voided": False,
        "region": "mitte",
        "location_kind": "shop",
        "time_zone": "UTC",
        "currency": "EUR",
        "department": "fresh",
        "category": "food",
        "unit": "piece",
        "source_partition": 0,
    }
    rows = [
        {
            **made,
            "position": number + 1,
            "sale_id": f"s{number}",
            "location_id": place,
            "product_id": thing,
            "sold_at": datetime.combine(day, time(12), UTC),
            "sold_on": day,
            "quantity": amount,
            "revenue": amount * 1.5,
            "location_name": places[place],
            "product_name": things[thing],
            "source_offset": number,
        }
        for number, ((place, thing, day), amount) in enumerate(zip(keys, amounts, strict=True))
    ]
    return pl.DataFrame(rows, schema=polars_schema(LAKE_TABLES["sales_joined"].file_schema))


def write_sales(store: BlobStore, frame: pl.DataFrame) -> None:
    """Append sales as the join job does, and seal them."""
    AppendTable(store, "sales_joined").append(0, 0, frame.height + 1, NOON, frame, None)
    for customer_id in frame["customer_id"].unique():
        seal(store, customer_id, NOON)


def forecast(
    places: Sequence[str], things: Sequence[str], first: date, days: int = HORIZON, factor: float = 1.0
) -> pl.DataFrame:
    """Forecasts of every series; `factor` tells one run's numbers from another's."""
    keys = [
        (place, thing, first + timedelta(days=ahead))
        for place, thing in series_of(places, things)
        for ahead in range(days)
    ]
    means = np.array([expected(*key) * factor for key in keys], dtype=np.float32)
    frame = pl.DataFrame(
        keys, schema={"location_id": pl.String, "product_id": pl.String, "date": pl.Date}, orient="row"
    )
    ranges = {
        name: pl.Series(np.maximum(means + level * np.sqrt(means), 0), dtype=pl.Float32)
        for name, level in zip(QUANTILES, LEVELS, strict=True)
    }
    return frame.with_columns(mean=pl.Series(means, dtype=pl.Float32), **ranges)


def publish(
    store: BlobStore,
    run_id: str,
    frame: pl.DataFrame,
    customer_id: str = CUSTOMER,
    made_on: date = LAST_DAY,
    reasons: tuple[str, ...] = (),
) -> None:
    """Publish a run as the daily flow does; with reasons its gate refuses it."""
    run = ForecastRun(
        run_id,
        customer_id,
        "global_trees",
        1,
        made_on,
        made_on,
        HORIZON,
        not reasons,
        reasons,
        {"wrmsse": 0.8},
    )
    about = {
        "model": pl.lit(run.model),
        "manifest": pl.lit(run.manifest, pl.Int64),
        "made_on": pl.lit(made_on),
    }
    lake_forecasts.publish(store, run, frame.with_columns(**about))


def write_errors(store: BlobStore, delivery_id: int, count: int, first: int = 0) -> None:
    """Append refused records as the sink of sales-error does: one file, from the chain's end on."""
    table = AppendTable(store, "sales_error")
    previous = table.chain_end(0)
    begin = previous.next_offset if previous else 0
    rows = [
        {
            "customer_id": CUSTOMER,
            "delivery_id": delivery_id,
            "position": 3 * (first + number) + 1,
            "content": "sales",
            "sale_id": f"s{first + number}",
            "location_id": "berlin-1",
            "product_id": "beer",
            "codes": ["unknown_product", "negative_quantity"],
            "messages": [
                "product_id: expected a product delivered before, found 'beer'",
                "quantity: expected 0 or more, found -1",
            ],
            "original": b"-",
            "judged_at": NOON,
        }
        for number in range(count)
    ]
    frame = pl.DataFrame(rows, schema=polars_schema(table.table.file_schema))
    table.append(0, begin, begin + count + 1, NOON, frame, previous)


def master_frames(
    places: dict[str, str], things: dict[str, str], customer_id: str = CUSTOMER
) -> dict[str, pl.DataFrame]:
    """Locations and products as the stream's side holds them: their newest versions, sorted by id."""
    shared = {"customer_id": customer_id, "delivery_id": 1, "position": 1, "received_at": NOON}
    locations = [
        {
            **shared,
            "location_id": key,
            "name": name,
            "region": "mitte",
            "kind": "shop",
            "time_zone": "Europe/Berlin",
            "currency": "EUR",
            "opened_on": date(2020, 3, 1),
        }
        for key, name in sorted(places.items())
    ]
    products = [
        {
            **shared,
            "product_id": key,
            "name": name,
            "department": "fresh",
            "category": "food",
            "unit": "piece",
        }
        for key, name in sorted(things.items())
    ]
    return {
        "locations": pl.DataFrame(locations, schema=polars_schema(LAKE_TABLES["locations"].schema)),
        "products": pl.DataFrame(products, schema=polars_schema(LAKE_TABLES["products"].schema)),
    }
