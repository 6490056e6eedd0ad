"""What was sold, day by day, of one product at one location: the sealed days before a forecast.

Guarantee: an answer is of one manifest, which it names; asking again for the same days of the same manifest
reads nothing. Memory is bounded by the number of answers kept.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from infra.blobs import BlobStore
from lake.manifests import Manifest, load_manifest
from lake.read import Lake
from schemas.lake_tables import LAKE_TABLES, polars_schema

DAILY = LAKE_TABLES["sales_daily"]
COLUMNS = ("location_id", "product_id", "sold_on", "quantity", "revenue", "sales", "unit", "currency")
EMPTY = {name: kind for name, kind in polars_schema(DAILY.schema).items() if name in COLUMNS}
ANSWERS_MAX = 512


@dataclass(frozen=True, slots=True)
class Series:
    """Daily sums of one series.

    Attributes:
        rows: `COLUMNS` by day; a day without a sale has no row.
        manifest: Number of the manifest they are of; None when nothing is sealed.
        data_up_to: Newest day with a sale of the customer; None when nothing is sealed.
    """

    rows: pl.DataFrame
    manifest: int | None = None
    data_up_to: date | None = None


class History:
    """Reads daily sums from the lake and keeps the answers that were asked for last.

    Args:
        store: The lake.
    """

    def __init__(self, store: BlobStore) -> None:
        self._lake = Lake(store)
        self._answers: OrderedDict[tuple[object, ...], Series] = OrderedDict()
        self._lock = threading.Lock()

    def series(
        self,
        customer_id: str,
        location_id: str,
        product_id: str,
        start: date | None,
        end: date | None,
        days: int,
    ) -> Series:
        """The daily sums of one series.

        Args:
            customer_id: The retailer.
            location_id: The location.
            product_id: The product.
            start: First day, inclusive; None means `days` days before the end.
            end: Last day, inclusive; None means the customer's newest day with a sale.
            days: Length of the range without a start, days.

        Raises:
            UnavailableError: The lake does not answer.
            CorruptLakeError: An object of the lake is gone or is no Parquet file.
        """
        manifest = load_manifest(self._lake.store, customer_id)
        if manifest is None or manifest.last_sold_on is None:
            return Series(pl.DataFrame(schema=EMPTY).select(COLUMNS))
        last = min(end or manifest.last_sold_on, manifest.last_sold_on)
        first = start or last - timedelta(days=days - 1)
        key = (customer_id, manifest.seq, location_id, product_id, first, last)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        rows = self._read(manifest, location_id, product_id, first, last)
        found = Series(rows, manifest.seq, manifest.last_sold_on)
        with self._lock:
            self._answers[key] = found
            while len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        return found

    def _read(
        self, manifest: Manifest, location_id: str, product_id: str, first: date, last: date
    ) -> pl.DataFrame:
        rows = self._lake.daily(manifest.customer_id, first, last, as_of=manifest)
        wanted = rows.lazy().filter(pl.col("location_id") == location_id, pl.col("product_id") == product_id)
        return replace(rows, plan=wanted.select(COLUMNS)).polars().sort("sold_on")
