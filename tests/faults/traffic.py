"""Deliveries whose verdicts are known beforehand."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

CUSTOMER = "acme"
SOLD_AT = "2026-03-02T12:00:00+01:00"
BAD_SHARE = 0.02
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
    """

    path: Path
    content: str
    records: int
    codes: dict[int, str] = field(default_factory=dict)


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

    def round(self, number: int) -> list[File]:
        """The files of a round, in the order of their delivery."""
        location, product = f"L{number:05}", f"P{number:05}"
        locations = pl.DataFrame(
            {"location_id": [location], "name": [location], "time_zone": ["Europe/Berlin"]}
        )
        products = pl.DataFrame({"product_id": [product], "name": [product], "category": ["Food"]})
        small = self._sales // 2 // SMALL_FILES
        return [
            self._written("locations", f"{number:05}", locations),
            self._written("products", f"{number:05}", products),
            self._sales_of(f"{number:05}-0", location, product, self._sales - SMALL_FILES * small),
            *(
                self._sales_of(f"{number:05}-{one}", *self._known(number), small)
                for one in range(1, SMALL_FILES + 1)
            ),
        ]

    def _known(self, number: int) -> tuple[str, str]:
        """A location and a product of this round or of one before it."""
        return (f"L{self._random.randrange(number + 1):05}", f"P{self._random.randrange(number + 1):05}")

    def _sales_of(self, number: str, location: str, product: str, rows: int) -> File:
        bad = sorted(self._random.sample(range(rows), int(rows * BAD_SHARE)))
        quantities, products, codes = ["2"] * rows, [product] * rows, {}
        for row in bad:
            if self._random.random() < 0.5:
                quantities[row], codes[row + 1] = "-1", "negative_quantity"
            else:
                products[row], codes[row + 1] = f"unheard-of-{row}", "unknown_product"
        frame = pl.DataFrame(
            {
                "sale_id": [f"{number}-{row}" for row in range(rows)],
                "location_id": location,
                "product_id": products,
                "sold_at": SOLD_AT,
                "quantity": quantities,
                "unit_price": "1.50",
            }
        )
        return self._written("sales", number, frame, codes)

    def _written(
        self, content: str, number: str, frame: pl.DataFrame, codes: dict[int, str] | None = None
    ) -> File:
        path = self._folder / f"{content}-{number}.csv"
        frame.write_csv(path)
        return File(path, content, frame.height, codes or {})
