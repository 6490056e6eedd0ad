"""Topics filled with a retailer's deliveries, as ingest writes them, for benchmarks of the jobs behind it."""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from benchmarks.own_stack import await_true
from cli.stream_view import StreamView
from infra.blobs import open_store
from infra.settings import Settings
from serving.ports import Delivery
from stream_jobs.ingest.accept import Desk

CUSTOMER = "acme"
FILE_ROWS = 500_000
READ_S_MAX = 600.0
UNKNOWN_PRODUCT = "P-000001"
"""The product that refused sales name; its text stands nowhere in the bytes of others."""


@dataclass(frozen=True, slots=True)
class Retailer:
    """How large a retailer is.

    Attributes:
        locations: Number of its locations.
        products: Number of its products.
        refused: Share of its sales that name an unknown product.
    """

    locations: int = 10
    products: int = 3_000
    refused: float = 0.01

    def location_ids(self) -> list[str]:
        """The ids of its locations."""
        return [f"L{number:05d}" for number in range(self.locations)]

    def product_ids(self) -> list[str]:
        """The ids of its products."""
        return [f"P{number:07d}" for number in range(self.products)]


def deliver_masters(settings: Settings, retailer: Retailer) -> None:
    """Deliver the locations and products, and wait until their records are in their topics."""
    frames = {
        "locations": pl.DataFrame({"location_id": retailer.location_ids(), "time_zone": "Europe/Berlin"}),
        "products": pl.DataFrame({"product_id": retailer.product_ids()}).with_columns(
            name=pl.concat_str(pl.lit("Product "), "product_id"), department=pl.lit("food")
        ),
    }
    _deliver(settings, frames)


def deliver_sales(settings: Settings, retailer: Retailer, sales: int, first: int = 0) -> None:
    """Deliver sales in files of half a million lines, and wait until all are in `sales-input`.

    Args:
        settings: Of the stack.
        retailer: Whose sales they are.
        sales: How many.
        first: Number of the first; each sale has another id.
    """
    frames = {
        f"sales-{begin}": sales_frame(retailer, begin, min(FILE_ROWS, first + sales - begin))
        for begin in range(first, first + sales, FILE_ROWS)
    }
    _deliver(settings, frames)


def sales_frame(retailer: Retailer, first: int, count: int) -> pl.DataFrame:
    """Sales with the numbers from `first` on, of one day, as a retailer would write them."""
    dice = np.random.default_rng([1, first])
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    products = dice.integers(0, retailer.products, count)
    unknown = dice.random(count) < retailer.refused
    return pl.DataFrame(
        {
            "sale": np.arange(first, first + count),
            "location": dice.integers(0, retailer.locations, count),
            "product": np.where(unknown, -1, products),
            "seconds": dice.integers(0, 86_400, count),
            "quantity": dice.integers(1, 9, count).astype(np.float64),
            "unit_price": dice.integers(50, 2_000, count) / 100,
        }
    ).select(
        sale_id=pl.lit("S") + pl.col("sale").cast(pl.String),
        location_id=pl.lit("L") + pl.col("location").cast(pl.String).str.zfill(5),
        product_id=pl.lit("P") + pl.col("product").cast(pl.String).str.zfill(7),
        sold_at=pl.lit(began) + pl.duration(seconds="seconds"),
        quantity="quantity",
        unit_price="unit_price",
    )


def _deliver(settings: Settings, frames: dict[str, pl.DataFrame]) -> None:
    store, folder = open_store(settings), settings.home / "files"
    folder.mkdir(exist_ok=True)
    ids: list[int] = []
    with closing(Desk(settings, store)) as desk:
        for name, frame in frames.items():
            path = folder / f"{name}.parquet"
            frame.write_parquet(path)
            with path.open("rb") as file:
                ids.append(desk.accept(CUSTOMER, None, path.name, file).delivery_id)
            path.unlink()
    with closing(StreamView(settings, store)) as view:

        def read() -> bool:
            view.read_to_end()
            return all(_is_read(view.get(delivery_id)) for delivery_id in ids)

        await_true(read, "the records in their topics", READ_S_MAX)


def _is_read(found: Delivery | None) -> bool:
    # Sales that nobody judges yet are read when their report speaks of judging.
    return found is not None and found.state in {"judging", "done"}
