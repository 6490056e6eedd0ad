"""What customers want: prices, promotions and units sold of every location × product × day.

Guarantee: a day is decided by the seed and by the days before it, never by how far the simulation goes on:
asking for a later last day gives the same history and the new days. Every random draw has the day as its
outermost axis and a generator of its own, so that the first days of a longer draw are the draw of a shorter
one.

Arrays have the shape (n_days, n_sites, n_products) or broadcast to it.
"""

import zlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cli.simulate.holidays import events
from cli.simulate.retailers import WEEKDAYS, Retailer, Site

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_PRICE_STEP_DAYS = 91
_FESTIVE = {
    # Event's slug: the product or department it moves, how strongly, and how many days before it begins.
    "halloween": ("Halloween mix", 9.0, 10),
    "thanksgiving": ("vegetables", 1.5, 3),
    "canada-day": ("drinks", 1.6, 2),
    "shrove-tuesday": ("Krapfen", 6.0, 5),
    "mothers-day": ("cakes", 2.6, 1),
    "christmas": ("Weihnachtsstollen", 6.0, 24),
}


@dataclass(frozen=True, slots=True)
class World:
    """What a simulation is made of; two with equal fields agree on every day.

    Attributes:
        seed: Of every random draw.
        first_day: First day of the history.
        history_days: Length of the first history; openings and new products lie at shares of it.
    """

    seed: int
    first_day: date
    history_days: int

    def day_at(self, share: float) -> date:
        """The day at a share of the history."""
        return self.first_day + timedelta(days=round(share * self.history_days))

    def days_to(self, last_day: date) -> int:
        """Number of days from the first day to `last_day`, both counted."""
        return (last_day - self.first_day).days + 1

    def generator(self, retailer: Retailer, purpose: str) -> np.random.Generator:
        """The random numbers of one purpose; no two purposes share any."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{retailer.customer_id}/{purpose}".encode())])


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by day, in each location's currency.

    Attributes:
        unit: The price asked, (n_days, n_sites, n_products).
        promotion: Whether it is a promotion, (n_days, 1, n_products).
        regular: The price without promotion, (n_days, n_sites, n_products).
    """

    unit: Floats
    promotion: Flags
    regular: Floats


def prices_of(world: World, retailer: Retailer, n_days: int) -> Prices:
    """Prices of the first days: regular ones that move each quarter of a year, and promotions by the week."""
    n_products = len(retailer.products)
    day = np.arange(n_days)
    steps = world.generator(retailer, "regular price").normal(
        0.008, 0.03, (n_days // _PRICE_STEP_DAYS + 1, n_products)
    )
    steps[0] = 0.0
    factor = np.exp(np.cumsum(steps, axis=0))[day // _PRICE_STEP_DAYS]
    # Promotions run from Monday to Sunday, in all locations alike.
    week = (day + world.first_day.weekday()) // 7
    draws = world.generator(retailer, "promotion").random((n_days // 7 + 2, 2, n_products))
    promotion = draws[week, 0] < retailer.promotion_share
    discount = np.where(promotion, np.round(0.15 + 0.25 * draws[week, 1], 2), 0.0)
    level = np.array([site.price_level for site in retailer.sites])[None, :, None]
    regular = np.round(np.array([p.price for p in retailer.products]) * factor, 2)[:, None, :] * level
    unit = np.round(regular * (1 - discount[:, None, :]), 2)
    return Prices(unit, promotion[:, None, :], regular)


def on_sale(world: World, retailer: Retailer, n_days: int) -> Flags:
    """Where and when a product can be bought: the location open, the product introduced and not ended."""
    day = np.arange(n_days)

    def between(start: float | None, end: float | None) -> Flags:
        first = (world.day_at(start) - world.first_day).days if start is not None else 0
        last = (world.day_at(end) - world.first_day).days if end is not None else n_days
        return (day >= first) & (day < last)

    sites = np.stack([between(site.opened, site.closed) for site in retailer.sites], axis=1)
    products = np.stack([between(product.introduced, product.ended) for product in retailer.products], axis=1)
    return sites[:, :, None] & products[:, None, :]


def units_sold(world: World, retailer: Retailer, last_day: date) -> tuple[NDArray[np.int64], Prices]:
    """Units sold on each day up to `last_day`; of products by weight a unit is a quarter of a kilogram."""
    n_days = world.days_to(last_day)
    prices = prices_of(world, retailer, n_days)
    mean = _mean_demand(world, retailer, n_days, prices) * on_sale(world, retailer, n_days)
    noise = world.generator(retailer, "noise")
    wobble = noise.standard_gamma(14.0, mean.shape) / 14.0
    return world.generator(retailer, "units").poisson(mean * wobble), prices


def _mean_demand(world: World, retailer: Retailer, n_days: int, prices: Prices) -> Floats:
    departments = {department.id: department for department in retailer.departments}
    kinds = [departments[product.department] for product in retailer.products]
    day = np.arange(n_days)
    weekday = (day + world.first_day.weekday()) % 7
    day_of_year = (day + world.first_day.timetuple().tm_yday) % 365.25
    constants = world.generator(retailer, "constants")
    liking = np.exp(constants.normal(0, 0.25, (len(retailer.sites), len(retailer.products))))
    size = np.array([site.size for site in retailer.sites])[:, None]
    base = np.array(
        [p.demand * (4 if kind.by_weight else 1) for p, kind in zip(retailer.products, kinds, strict=True)]
    )
    season = 1 + np.array([kind.season for kind in kinds]) * np.cos(
        2 * np.pi * (day_of_year[:, None] - np.array([kind.peak_day for kind in kinds])) / 365.25
    )
    trend = np.exp(retailer.trend * day / 365.25)
    elasticity = np.array([kind.elasticity for kind in kinds])
    response = (prices.unit / prices.regular) ** -elasticity * np.where(prices.promotion, 1.25, 1.0)
    profile = np.stack(
        [_weekdays(site, [k.weekdays for k in kinds])[weekday] for site in retailer.sites], axis=1
    )
    moods = _moods(constants, day, len(retailer.sites))[:, :, None]
    mean = (
        (size * liking * base)[None] * season[:, None, :] * trend[:, None, None] * response * profile * moods
    )
    factors = _event_factors(world, retailer, n_days)
    return np.asarray(mean * factors, dtype=np.float64)


def _weekdays(site: Site, departments: list[str]) -> Floats:
    """Factors (7, n_products) of a location, zero on its days of rest."""
    factors = np.array([WEEKDAYS[site.weekdays or name] for name in departments]).T
    factors[list(site.rest_days)] = 0.0
    return factors


def _moods(generator: np.random.Generator, day: NDArray[np.int64], n_sites: int) -> Floats:
    """Slow ups and downs of each location, (n_days, n_sites): waves need no memory of earlier days."""
    phases = generator.random((3, n_sites)) * 2 * np.pi
    waves = [
        height * np.sin(2 * np.pi * day[:, None] / period + phases[wave])
        for wave, (height, period) in enumerate(((0.05, 37.0), (0.06, 83.0), (0.07, 211.0)))
    ]
    return np.asarray(np.exp(sum(waves)))


def _event_factors(world: World, retailer: Retailer, n_days: int) -> Floats:
    """What holidays, feasts, sport and benefit days do to demand."""
    factors = np.ones((n_days, len(retailer.sites), len(retailer.products)))
    last_day = world.first_day + timedelta(days=n_days - 1)
    # The day before an event of January may lie in December: one more year is read.
    table = events(retailer.calendar, world.first_day.year, last_day.year + 1)
    for event_id, day, kind, region in table.select("event_id", "date", "type", "region").iter_rows():
        at = (day - world.first_day).days
        sites = [index for index, site in enumerate(retailer.sites) if region in (None, site.region)]
        slug = event_id[: event_id.index(f"-{day.year}")]
        if slug in _FESTIVE:
            _festive(factors, retailer, at, *_FESTIVE[slug])
        for index in sites:
            before, on = _around(retailer.sites[index].kind, kind, slug)
            if 0 <= at < n_days:
                factors[at, index] *= on
            if 0 <= at - 1 < n_days:
                factors[at - 1, index] *= before
    return factors


def _around(site_kind: str, event_type: str, slug: str) -> tuple[float, float]:
    """Factors of the day before an event and of the day itself, in one kind of location."""
    if event_type == "holiday":
        if slug in ("christmas", "new-year"):
            return 1.45, 0.0
        return {"bakery": (1.40, 0.0), "café": (1.10, 1.20)}.get(site_kind, (1.30, 0.60))
    return 1.0, {"benefit": 1.25, "sport": 1.60}.get(event_type, 1.0)


def _festive(factors: Floats, retailer: Retailer, at: int, target: str, strength: float, days: int) -> None:
    """Raise demand of the products that belong to a feast, rising to the day itself."""
    chosen = [
        i for i, product in enumerate(retailer.products) if target in (product.name, product.department)
    ]
    for ahead in range(days + 1):
        if 0 <= at - ahead < len(factors) and chosen:
            factors[at - ahead][:, chosen] *= 1 + (strength - 1) * (1 - ahead / (days + 1))


def price_changes(world: World, retailer: Retailer, last_day: date) -> pl.DataFrame:
    """Prices as a retailer delivers them: one row where a price begins, with the fields of a delivered price.

    A price that is null says that the product is not on sale from this day on.
    """
    n_days = world.days_to(last_day)
    prices, sold = prices_of(world, retailer, n_days), on_sale(world, retailer, n_days)
    unit = np.where(sold, prices.unit, np.nan)
    promotion = np.broadcast_to(prices.promotion, unit.shape) & sold
    changed = np.zeros(unit.shape, dtype=bool)
    changed[0] = sold[0]
    same = (unit[1:] == unit[:-1]) | (np.isnan(unit[1:]) & np.isnan(unit[:-1]))
    changed[1:] = ~same | (promotion[1:] != promotion[:-1])
    day, site, product = np.nonzero(changed)
    first = np.datetime64(world.first_day, "D")
    return pl.DataFrame(
        {
            "location_id": np.array([s.id for s in retailer.sites])[site],
            "product_id": np.array([p.id for p in retailer.products])[product],
            "valid_from": first + day,
            "unit_price": unit[day, site, product],
            "promotion": promotion[day, site, product],
        }
    ).with_columns(pl.col("unit_price").fill_nan(None))
