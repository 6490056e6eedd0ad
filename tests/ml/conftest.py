"""Small retailers, made up from a seed, that the tests of forecasting share."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ml.panel import Panel, build_panel

FIRST_DAY = date(2025, 1, 1)


@dataclass(frozen=True)
class Retailer:
    """The frames of the lake, for one customer."""

    daily: pl.DataFrame
    locations: pl.DataFrame
    products: pl.DataFrame
    prices: pl.DataFrame | None
    events: pl.DataFrame | None
    last_day: date

    def panel(
        self,
        horizon_days: int = 28,
        origin: date | None = None,
        *,
        earlier: pl.DataFrame | None = None,
        history_days_max: int = 800,
    ) -> Panel:
        return build_panel(
            self.daily,
            self.locations,
            self.products,
            self.prices,
            self.events,
            origin or self.last_day,
            horizon_days,
            history_days_max,
            earlier,
        )

    def with_sales(self, daily: pl.DataFrame) -> "Retailer":
        return replace(self, daily=daily)


def make_retailer(
    n_locations: int, n_products: int, n_days: int, rate: float = 2.0, *, plans: bool = True, seed: int = 1
) -> Retailer:
    """Poisson sales with a week, sizes of locations and products, and promotions that raise sales."""
    random = np.random.default_rng(seed)
    size = (
        random.gamma(2, 0.5, n_locations)[:, None, None] * random.gamma(1.5, 0.7, n_products)[None, :, None]
    )
    week = np.array([0.8, 0.7, 0.8, 0.9, 1.2, 1.5, 1.1])[np.arange(n_days) % 7]
    promoted = random.random((n_products, n_days // 14 + 4)).repeat(14, axis=1) < 0.1
    quantity = random.poisson(rate * size * week * (1 + promoted[:, :n_days]))
    location, product, day = np.nonzero(quantity)
    sold = quantity[location, product, day].astype(np.float64)
    first = np.datetime64(FIRST_DAY)
    daily = pl.DataFrame(
        {
            "location_id": np.char.add("l", location.astype(str)),
            "product_id": np.char.add("p", product.astype(str)),
            "sold_on": pl.Series(first + day, dtype=pl.Date),
            "quantity": sold,
            "revenue": sold * (1 + product),
        },
        schema_overrides={"location_id": pl.String, "product_id": pl.String},
    )
    locations = pl.DataFrame(
        {
            "location_id": [f"l{number}" for number in range(n_locations)],
            "region": [("north", "south", None)[number % 3] for number in range(n_locations)],
        }
    )
    products = pl.DataFrame(
        {
            "product_id": [f"p{number}" for number in range(n_products)],
            "department": [f"d{number % 3}" for number in range(n_products)],
            "category": [f"c{number % 2}" for number in range(n_products)],
        }
    )
    last_day = FIRST_DAY + timedelta(days=n_days - 1)
    if not plans:
        return Retailer(daily, locations, products, None, None, last_day)
    at = np.arange(0, promoted.shape[1], 14)
    grid = np.array(np.meshgrid(np.arange(n_locations), np.arange(n_products), at, indexing="ij")).reshape(
        3, -1
    )
    is_promoted = promoted[grid[1], grid[2]]
    prices = pl.DataFrame(
        {
            "location_id": np.char.add("l", grid[0].astype(str)),
            "product_id": np.char.add("p", grid[1].astype(str)),
            "valid_from": pl.Series(first + grid[2], dtype=pl.Date),
            "unit_price": (1.0 + grid[1]) * np.where(is_promoted, 0.7, 1.0),
            "promotion": is_promoted,
        }
    )
    days = [FIRST_DAY + timedelta(days=number) for number in range(5, n_days + 60, 45)]
    events = pl.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(len(days))],
            "date": days,
            "name": ["feast" if number % 2 else "match" for number in range(len(days))],
            "type": ["holiday" if number % 2 else "sport" for number in range(len(days))],
            "region": [None if number % 2 else "north" for number in range(len(days))],
        },
        schema_overrides={"region": pl.String},
    )
    return Retailer(daily, locations, products, prices, events, last_day)


@pytest.fixture(scope="session")
def retailer() -> Retailer:
    """Six locations, ten products, 300 days, with prices and events."""
    return make_retailer(6, 10, 300)


@pytest.fixture(scope="session")
def panel(retailer: Retailer) -> Panel:
    return retailer.panel()
