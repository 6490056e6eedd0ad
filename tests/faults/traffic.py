"""Deliveries whose verdicts and windows are known beforehand."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

CUSTOMER = "acme"
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata")
"""Time zones of the locations, one after the other."""
FIRST_DAY = datetime(2025, 3, 1, 18, tzinfo=UTC)
ROUND_DAYS = 2
"""So many days after those of one round the sales of the next are."""
BAD_SHARE = 0.02
LATE_SHARE = 0.02
"""Sales that are days older than the others of their file: too late for some windows, where the location is known."""
LATE_DAYS = (4, 9)
CORRECTED_SHARE = 0.01
SMALL_FILES = 5
"""Files of a round that share one half of its sales; the other half comes in one."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to deliver.

    Attributes:
        path: Where it lies.
        content: What it holds.
        codes: Codes that its records must be refused with, by position from 1; all others are valid.
        records: How many there are.
        location: Where all of its sales were.
        time_zone: On whose clock.
    """

    path: Path
    content: str
    records: int
    codes: dict[int, str] = field(default_factory=dict)
    location: str = ""
    time_zone: str = ""


class Sold(NamedTuple):
    """A sale that a later file may correct."""

    sale_id: str
    product_id: str
    sold_at: str


class Traffic:
    """Writes the files of one round after the other: each begins with a location and a product of its own.

    Args:
        folder: Where files are written.
        seed: Of what goes wrong in them.
        sales: Sales of a round.
    """

    def __init__(self, folder: Path, seed: int, sales: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._random = random.Random(seed)
        self._sales = sales
        self._correctable: defaultdict[str, list[Sold]] = defaultdict(list)

    def round(self, number: int) -> list[File]:
        """The files of a round, in the order of their delivery."""
        location, product = f"L{number:05}", f"P{number:05}"
        locations = pl.DataFrame(
            {"location_id": [location], "name": [location], "time_zone": [zone_of(number)]}
        )
        products = pl.DataFrame({"product_id": [product], "name": [product], "category": ["Food"]})
        small = self._sales // 2 // SMALL_FILES
        return [
            self._written("locations", f"{number:05}", locations),
            self._written("products", f"{number:05}", products),
            self._sales_of(number, 0, number, product, self._sales - SMALL_FILES * small),
            *(self._sales_of(number, one, *self._known(number), small) for one in range(1, SMALL_FILES + 1)),
        ]

    def _known(self, number: int) -> tuple[int, str]:
        """The number of a location, and a product, of this round or of one before it."""
        return self._random.randrange(number + 1), f"P{self._random.randrange(number + 1):05}"

    def _sales_of(self, number: int, one: int, place: int, product: str, rows: int) -> File:
        """A file of sales at one location: some bad, some late, some correcting or withdrawing what came before."""
        name, location = f"{number:05}-{one}", f"L{place:05}"
        sales = [
            Sold(f"{name}-{row}", product, sold_at.isoformat())
            for row, sold_at in enumerate(self._times(number, rows))
        ]
        quantities, voided = self._random.choices(("0.7", "2", "3.1"), k=rows), ["false"] * rows
        before = self._correctable[location]
        corrected = self._random.sample(range(rows), min(int(rows * CORRECTED_SHARE), len(before)))
        for row in corrected:
            sales[row] = before.pop(self._random.randrange(len(before)))
            voided[row] = self._random.choice(("false", "true"))
        own, codes = sorted(set(range(rows)).difference(corrected)), {}
        for row in self._random.sample(own, int(rows * BAD_SHARE)):
            if self._random.random() < 0.5:
                quantities[row], codes[row + 1] = "-1", "negative_quantity"
            else:
                sales[row] = sales[row]._replace(product_id=f"unheard-of-{row}")
                codes[row + 1] = "unknown_product"
        good = [sales[row] for row in own if row + 1 not in codes]
        before += self._random.sample(good, int(rows * CORRECTED_SHARE))
        frame = pl.DataFrame(sales, schema=Sold._fields, orient="row").with_columns(
            location_id=pl.lit(location),
            quantity=pl.Series(quantities),
            unit_price=pl.lit("1.49"),
            voided=pl.Series(voided),
        )
        return self._written("sales", name, frame, codes, location, zone_of(place))

    def _times(self, number: int, rows: int) -> list[datetime]:
        """When the sales of a round were: within two days, and some long before."""
        today = FIRST_DAY + timedelta(days=ROUND_DAYS * number)
        return [
            today
            - timedelta(minutes=self._random.randrange(2 * 24 * 60))
            - timedelta(days=self._random.choice(LATE_DAYS) * (self._random.random() < LATE_SHARE))
            for _ in range(rows)
        ]

    def _written(
        self,
        content: str,
        number: str,
        frame: pl.DataFrame,
        codes: dict[int, str] | None = None,
        location: str = "",
        time_zone: str = "",
    ) -> File:
        path = self._folder / f"{content}-{number}.csv"
        frame.write_csv(path)
        return File(path, content, frame.height, codes or {}, location, time_zone)


def zone_of(place: int) -> str:
    """The time zone of a location."""
    return ZONES[place % len(ZONES)]
