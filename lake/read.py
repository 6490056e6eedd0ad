"""Reading the lake: sealed tables as of a manifest, raw tables and errors as they stand.

Guarantee: sealed tables are read as one manifest names them, from objects that never change, so a read is
consistent however often days are sealed again meanwhile, and the same manifest gives the same rows for ever.
"""

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from infra.blobs import BlobStore
from infra.errors import FaultError, NotFoundError
from lake.append import AppendTable
from lake.manifests import Manifest, load_manifest, manifest_numbers, sealed_customers
from lake.objects import find
from lake.parquet import arrow_table
from lake.scan import collect, scan
from schemas.lake_tables import ARRIVED_ON, LAKE_TABLES, MASTER_KEYS, RAW_TABLES

if TYPE_CHECKING:
    import pandas as pd  # It takes 40 MB, and the services never ask for its frames.


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table that are read when one of the methods is called, in the library of the caller.

    Attributes:
        plan: The read that will be done; add filters and columns to it to read less.
        schema: Columns with their descriptions and units.
        store: Where they lie.
    """

    plan: pl.LazyFrame
    schema: pa.Schema
    store: BlobStore

    def lazy(self) -> pl.LazyFrame:
        """As a Polars query, to be filtered before it reads."""
        return self.plan

    def polars(self) -> pl.DataFrame:
        """As a Polars frame.

        Raises:
            CorruptLakeError: A file is not what the lake wrote.
            UnavailableError: The store does not answer.
        """
        return collect(self.plan, self.store)

    def arrow(self) -> pa.Table:
        """As an Arrow table whose fields carry description and unit; errors as in `polars`."""
        return arrow_table(self.polars(), self.schema)

    def pandas(self) -> "pd.DataFrame":
        """As a pandas frame, days as timestamps at midnight; errors as in `polars`."""
        return self.arrow().to_pandas(date_as_object=False)


@dataclass(frozen=True, slots=True)
class Lake:
    """The lake as its readers see it.

    Args:
        store: The blob store.
    """

    store: BlobStore

    def customers(self) -> list[str]:
        """Ids of the customers for whom something is sealed, sorted."""
        return sealed_customers(self.store)

    def manifests(self, customer_id: str) -> list[int]:
        """Numbers of a customer's manifests, in order; empty when nothing is sealed."""
        return manifest_numbers(self.store, customer_id)

    def manifest(self, customer_id: str, seq: int | None = None) -> Manifest:
        """A manifest of a customer; the last one when no number is given.

        Raises:
            NotFoundError: Nothing is sealed for the customer, or there is no manifest of this number.
        """
        found = load_manifest(self.store, customer_id, seq)
        if found is None:
            which = "any manifest" if seq is None else f"manifest {seq}"
            raise NotFoundError(
                f"expected {which} of customer {customer_id} in {self.store.location}, found none"
            )
        return found

    def sales(
        self,
        customer_id: str,
        start: dt.date | None = None,
        end: dt.date | None = None,
        as_of: int | Manifest | None = None,
    ) -> Rows:
        """The sealed sales of some days: the table `sales_sealed`.

        Args:
            customer_id: The retailer.
            start: First local day; None means from the first.
            end: Last local day, included; None means to the last.
            as_of: Manifest, or its number, that the rows are read as of; None means the last.

        Raises:
            NotFoundError: There is no such manifest.
            CorruptLakeError: An object that the manifest names is gone or is another.
        """
        return self._sealed("sales_sealed", self._as_of(customer_id, as_of), start, end)

    def daily(
        self,
        customer_id: str,
        start: dt.date | None = None,
        end: dt.date | None = None,
        as_of: int | Manifest | None = None,
    ) -> Rows:
        """The sums by location, product and day: the table `sales_daily`; all else as in `sales`."""
        return self._sealed("sales_daily", self._as_of(customer_id, as_of), start, end)

    def master(self, customer_id: str, name: str, as_of: int | Manifest | None = None) -> Rows:
        """Master data as it stood at a manifest: `locations`, `products`, `prices` or `events`.

        Raises:
            FaultError: The name is another.
            NotFoundError: There is no such manifest.
            CorruptLakeError: The object that the manifest names is gone or is another.
        """
        if name not in MASTER_KEYS:
            raise FaultError(f"master data: expected one of {', '.join(MASTER_KEYS)}, found {name!r}")
        return self._sealed(name, self._as_of(customer_id, as_of), None, None)

    def raw(self, name: str, start_day: dt.date | None = None) -> Rows:
        """A raw table as it arrived, every customer's rows, with the column `arrived_on`.

        Args:
            name: One of `schemas.lake_tables.RAW_TABLES`.
            start_day: First day of arrival that is read; None reads all.

        Raises:
            FaultError: There is no such raw table.
        """
        if name not in RAW_TABLES:
            raise FaultError(f"raw table: expected one of {', '.join(RAW_TABLES)}, found {name!r}")
        table = LAKE_TABLES[name]
        paths = [file.path for file in AppendTable(self.store, name).files(start_day)]
        schema = pa.schema([*table.file_schema, ARRIVED_ON])
        return Rows(scan(self.store, paths, table), schema, self.store)

    def errors(
        self,
        customer_id: str,
        delivery_id: int,
        offset: int = 0,
        limit: int = 100,
        received_on: dt.date | None = None,
    ) -> tuple[pl.DataFrame, int]:
        """The refused records of a delivery, by their position in it.

        Args:
            customer_id: The retailer.
            delivery_id: The delivery.
            offset: Number of records to skip.
            limit: Most records to return.
            received_on: Day on which the delivery was accepted, UTC, if known; no older files are looked at.

        Returns:
            The columns of `sales_error`, one row for each record that is still refused, as it was judged last; and
            the number of all of them.
        """
        # Files are sorted by customer and delivery: statistics let the reader skip the row groups of others.
        rows = self.raw("sales_error", received_on).lazy()
        mine = rows.filter(pl.col("customer_id") == customer_id, pl.col("delivery_id") == delivery_id)
        # A record that is judged again is one more row, with no codes when it is valid after all.
        last_word = mine.select("position", "judged_at", refused=pl.col("codes").list.len() > 0)
        standing = collect(
            last_word.group_by("position").agg(pl.all().sort_by("judged_at").last()).filter("refused"),
            self.store,
        )
        keys = standing.sort("position", nulls_last=True).slice(offset, limit).drop("refused")
        page = mine.drop("arrived_on").join(keys.lazy(), on=["position", "judged_at"], nulls_equal=True)
        return collect(page.sort("position", nulls_last=True), self.store), standing.height

    def _as_of(self, customer_id: str, as_of: int | Manifest | None) -> Manifest:
        if isinstance(as_of, Manifest):
            if as_of.customer_id != customer_id:
                raise FaultError(f"expected a manifest of {customer_id}, found one of {as_of.customer_id}")
            return as_of
        return self.manifest(customer_id, as_of)

    def _sealed(self, name: str, manifest: Manifest, start: dt.date | None, end: dt.date | None) -> Rows:
        table = LAKE_TABLES[name]
        items = [
            item
            for item in manifest.of(name)
            if item.day is None or ((start is None or item.day >= start) and (end is None or item.day <= end))
        ]
        rows = scan(self.store, find(self.store, items), table)
        customer = pl.lit(manifest.customer_id).alias("customer_id")
        return Rows(rows.with_columns(customer).select(table.schema.names), table.schema, self.store)
