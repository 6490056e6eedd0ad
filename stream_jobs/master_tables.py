"""Locations and products in memory, every version of each, for look-ups as of a delivery.

Guarantee: a look-up for a sale of delivery D sees the newest version that a delivery before D brought,
whatever has come since. Its cost follows the batch: an index stands ready, only the batch's distinct keys are
looked up, and only their rows are copied. A delivery that repeats what is known adds no version, so memory
follows the changes and not the number of deliveries. A table made from another one's columns answers as that
one did.
"""

import logging
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from infra.errors import FaultError
from stream_jobs.local_days import is_time_zone

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

UNKNOWN = -1
"""Row of a key without a version before the delivery."""

LOCATION_COLUMNS: dict[str, pl.DataType] = {
    "name": pl.String(),
    "region": pl.String(),
    "kind": pl.String(),
    "time_zone": pl.String(),
    "currency": pl.String(),
    "opened_on": pl.Date(),
    "closed_on": pl.Date(),
}
"""What is kept of a Location."""
PRODUCT_COLUMNS: dict[str, pl.DataType] = {
    "name": pl.String(),
    "department": pl.String(),
    "category": pl.String(),
    "unit": pl.String(),
    "introduced_on": pl.Date(),
    "ended_on": pl.Date(),
}
"""What is kept of a Product."""

_KEY, _DELIVERY, _OFFSET, _OLDER = "(key)", "(delivery)", "(offset)", "(older)"


def state_schema(columns: Mapping[str, pl.DataType]) -> pl.Schema:
    """Columns of `VersionedTable.capture`."""
    numbers = dict.fromkeys((_DELIVERY, _OFFSET, _OLDER), pl.Int64())
    return pl.Schema({_KEY: pl.String(), **columns, **numbers})


@dataclass(frozen=True, slots=True)
class Coded:
    """Strings of many rows, each distinct one once: looking them up costs what the distinct ones cost.

    Attributes:
        names: The distinct strings.
        codes: Place of each row's string among them, -1 of a null; shape `(n_rows,)`.
    """

    names: Sequence[str]
    codes: Rows


class VersionedTable:
    """Versions of records by key.

    Args:
        columns: Names and types of the attributes kept.
    """

    def __init__(self, columns: Mapping[str, pl.DataType]) -> None:
        self._columns = dict(columns)
        self._newest: dict[str | None, int] = {}
        self._delivery = array("q")
        self._offset = array("q")
        self._older = array("q")
        # Keys and attributes in chunks of rows whose sizes fall at least by half from one to the next: few to
        # look into, and a row is copied a logarithmic number of times. A chunk never changes.
        self._chunks: list[pl.DataFrame] = []

    @classmethod
    def restored(cls, columns: Mapping[str, pl.DataType], state: pl.DataFrame) -> "VersionedTable":
        """The table whose columns were captured.

        Args:
            columns: Names and types of the attributes kept.
            state: Columns of `state_schema(columns)`.
        """
        table = cls(columns)
        if state.height:
            for held, name in (
                (table._delivery, _DELIVERY),
                (table._offset, _OFFSET),
                (table._older, _OLDER),
            ):
                held.frombytes(state[name].to_numpy().astype(np.int64).tobytes())
            table._newest = dict(zip(state[_KEY].to_list(), range(state.height), strict=True))
            table._chunks = [state.select(_KEY, *columns)]
        return table

    def capture(self) -> Callable[[], pl.DataFrame]:
        """What makes the table's columns as they are now, later and in any thread."""
        chunks = list(self._chunks)
        numbers = {_DELIVERY: self._delivery[:], _OFFSET: self._offset[:], _OLDER: self._older[:]}

        def columns() -> pl.DataFrame:
            nothing = pl.DataFrame(schema={_KEY: pl.String(), **self._columns})
            return pl.concat([nothing, *chunks], rechunk=True).with_columns(
                pl.Series(name, np.frombuffer(held, np.int64)) for name, held in numbers.items()
            )

        return columns

    def __len__(self) -> int:
        """Versions held."""
        return len(self._delivery)

    @property
    def keys(self) -> int:
        """Distinct keys held."""
        return len(self._newest)

    def add(
        self, keys: pl.Series, deliveries: pl.Series, offsets: pl.Series, attributes: pl.DataFrame
    ) -> None:
        """Take in records in the order in which they were written, which is that of their deliveries.

        Args:
            keys: Key of each record, shape `(n_rows,)`.
            deliveries: Delivery that brought it, `Int64`, shape `(n_rows,)`.
            offsets: Its offset in the topic, `Int64`, shape `(n_rows,)`.
            attributes: The table's columns, `n_rows` rows.
        """
        frame = attributes.select(pl.col(name).cast(kind) for name, kind in self._columns.items())
        frame = frame.with_columns(keys.alias(_KEY), deliveries.alias(_DELIVERY), offsets.alias(_OFFSET))
        # A key that comes twice in one batch is two versions, one after the other.
        frame = frame.with_columns(pl.int_range(pl.len()).over(_KEY).alias("(turn)"))
        turns = frame["(turn)"].max()
        if isinstance(turns, int):
            for turn in range(turns + 1):
                part = frame if turns == 0 else frame.filter(pl.col("(turn)") == turn)
                self._add_distinct(part)

    def _add_distinct(self, frame: pl.DataFrame) -> None:
        names = frame[_KEY].to_list()
        newest = np.fromiter((self._newest.get(name, UNKNOWN) for name in names), np.int64, len(names))
        changed = self._changed(newest, frame.select(*self._columns))
        fresh = frame.filter(pl.Series(changed))
        if fresh.is_empty():
            return
        first = len(self._delivery)
        self._delivery.extend(fresh[_DELIVERY].to_list())
        self._offset.extend(fresh[_OFFSET].to_list())
        self._older.extend(newest[changed].tolist())
        self._newest.update(zip(fresh[_KEY].to_list(), range(first, first + fresh.height), strict=True))
        self._append(fresh.select(_KEY, *self._columns))

    def _changed(self, newest: Rows, attributes: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Where a record differs from the newest version of its key, or is the first."""
        changed = np.ones(len(newest), dtype=np.bool_)
        known = (newest != UNKNOWN).nonzero()[0]
        if len(known):
            held, offered = self.gather(newest[known]), attributes[known]
            same = [held[name].eq_missing(offered[name]) for name in self._columns]
            changed[known] = ~pl.DataFrame(same).select(same=pl.all_horizontal(pl.all()))["same"].to_numpy()
        return changed

    def _append(self, rows: pl.DataFrame) -> None:
        self._chunks.append(rows)
        while len(self._chunks) > 1 and self._chunks[-1].height * 2 > self._chunks[-2].height:
            last = self._chunks.pop()
            self._chunks[-1] = pl.concat([self._chunks[-1], last], rechunk=True)

    def lookup(self, keys: Coded, deliveries: pl.Series) -> Rows:
        """The row of each key's newest version from a delivery before the given one.

        Args:
            keys: Keys, shape `(n_rows,)`; one that is null is unknown.
            deliveries: Delivery of the record that asks, `Int64`, shape `(n_rows,)`.

        Returns:
            Rows, shape `(n_rows,)`; `UNKNOWN` where there is no such version.
        """
        # Code -1, of a null, is the place of the None at the end.
        names, codes = [*keys.names, None], keys.codes
        before = deliveries.to_numpy()
        if len(before) and (before == before[0]).all():
            return self._versions(names, np.full(len(names), before[0]))[codes]
        distinct, turns = np.unique(before, return_inverse=True)
        pairs, places = np.unique(codes * len(distinct) + turns, return_inverse=True)
        asked = [names[code] for code in (pairs // len(distinct)).tolist()]
        return self._versions(asked, distinct[pairs % len(distinct)])[places]

    def _versions(self, names: Sequence[str | None], before: Rows) -> Rows:
        """The row of each key's newest version from a delivery before the one beside it."""
        newest = self._newest.get
        rows = np.fromiter((newest(name, UNKNOWN) for name in names), np.int64, len(names))
        known = np.flatnonzero(rows != UNKNOWN)
        if len(known):
            brought = np.frombuffer(self._delivery, np.int64)[rows[known]]
            # Of most keys the newest version is old enough.
            for place in known[brought >= before[known]].tolist():
                row = int(rows[place])
                while row != UNKNOWN and self._delivery[row] >= before[place]:
                    row = self._older[row]
                rows[place] = row
        return rows

    def oldest(self, key: str) -> int:
        """The row of a key's oldest version, or `UNKNOWN`."""
        row = self._newest.get(key, UNKNOWN)
        while row != UNKNOWN and self._older[row] != UNKNOWN:
            row = self._older[row]
        return row

    def gather(self, rows: Rows, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Attributes of rows, in their order; all null where a row is `UNKNOWN`.

        Each distinct row is fetched once, so a batch of one location costs one.

        Args:
            rows: Rows from `lookup`, shape `(n_rows,)`.
            columns: Attributes wanted; None for all.
        """
        names = list(self._columns) if columns is None else list(columns)
        distinct, places = np.unique(rows, return_inverse=True)
        unknown = bool(len(distinct)) and distinct[0] == UNKNOWN
        wanted = distinct[1:] if unknown else distinct
        nothing = pl.DataFrame(schema={name: self._columns[name] for name in names})
        parts = [nothing.clear(1)] if unknown else [nothing]
        start = 0
        for chunk in self._chunks:
            inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + chunk.height)]
            if len(inside):
                parts.append(chunk.select(names)[inside - start])
            start += chunk.height
        return pl.concat(parts, rechunk=True)[places]

    def newest(
        self, customer_id: str, delivery_id: int | None = None, offset: int | None = None
    ) -> pl.DataFrame:
        """The newest version of each of a customer's records, sorted by id.

        Args:
            customer_id: Whose.
            delivery_id: As a sale of this delivery sees them; None for all deliveries.
            offset: As of this offset of the topic: what lies below it is known; None for all of it.

        Returns:
            Columns `customer_id`, `id`, `delivery_id` of the delivery that brought the version, and the table's own.
        """
        rows = self.capture()()
        rows = rows.filter(pl.col(_KEY).str.starts_with(f"{customer_id}/"))
        if delivery_id is not None:
            rows = rows.filter(pl.col(_DELIVERY) < delivery_id)
        if offset is not None:
            rows = rows.filter(pl.col(_OFFSET) < offset)
        newest = rows.unique(_KEY, keep="last", maintain_order=True).sort(_KEY)
        return newest.select(
            pl.lit(customer_id).alias("customer_id"),
            pl.col(_KEY).str.slice(len(customer_id) + 1).alias("id"),
            pl.col(_DELIVERY).alias("delivery_id"),
            *self._columns,
        )


@dataclass(frozen=True, slots=True)
class MasterTables:
    """The master data that a sale refers to."""

    locations: VersionedTable
    products: VersionedTable

    @classmethod
    def empty(cls) -> "MasterTables":
        """Tables that hold nothing yet."""
        return cls(VersionedTable(LOCATION_COLUMNS), VersionedTable(PRODUCT_COLUMNS))

    def add_locations(self, frame: pl.DataFrame, offsets: pl.Series) -> None:
        """Take in decoded Location records and their offsets, in the order of their topic.

        A location whose time zone is none cannot tell a sale's day. Ingest refuses such records; one that is
        there nevertheless is passed over, so that its sales are refused and the log says why.
        """
        zones = {name: is_time_zone(name) for name in frame["time_zone"].unique().to_list()}
        if not all(zones.values()):
            good = frame["time_zone"].replace_strict(zones, return_dtype=pl.Boolean)
            for row in frame.filter(~good).iter_rows(named=True):
                logger.error(
                    "locations: passed over %s/%s of delivery %d, whose time_zone %r is no IANA time zone; "
                    "deliver the location again with a right one",
                    row["customer_id"],
                    row["location_id"],
                    row["delivery_id"],
                    row["time_zone"],
                )
            frame, offsets = frame.filter(good), offsets.filter(good)
        self.locations.add(master_keys(frame, "location_id"), frame["delivery_id"], offsets, frame)

    def add_products(self, frame: pl.DataFrame, offsets: pl.Series) -> None:
        """Take in decoded Product records and their offsets, in the order of their topic."""
        self.products.add(master_keys(frame, "product_id"), frame["delivery_id"], offsets, frame)


def master_keys(frame: pl.DataFrame, id_column: str) -> pl.Series:
    """`customer_id/id` of each row, which no other customer's can equal; null where the id is null."""
    keyed = pl.concat_str(["customer_id", id_column], separator="/")
    return frame.select(key=keyed)["key"]


def coded_keys(frame: pl.DataFrame, id_column: str) -> Coded:
    """The keys of `master_keys` by code."""
    customers = frame["customer_id"]
    if frame.height and customers.null_count() == 0 and (customers == customers[0]).all():
        ids = coded(frame[id_column])
        return Coded([f"{customers[0]}/{name}" for name in ids.names], ids.codes)
    return coded(master_keys(frame, id_column))


def coded(values: pl.Series) -> Coded:
    """Strings by code."""
    found = values.to_arrow().dictionary_encode()
    codes = found.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return Coded(cast("list[str]", found.dictionary.to_pylist()), codes)


def or_oldest(
    rows: Rows, missing: npt.NDArray[np.bool_], frame: pl.DataFrame, id_column: str, table: VersionedTable
) -> Rows:
    """Rows where those that a sale needs and lacks are the oldest versions there are.

    Raises:
        FaultError: A valid sale names something of which there is no version at all.
    """
    filled = rows.copy()
    keys = master_keys(frame, id_column)
    for row in (missing & (rows == UNKNOWN)).nonzero()[0].tolist():
        filled[row] = table.oldest(keys[row])
        if filled[row] == UNKNOWN:
            raise FaultError(
                f"sales-validated: expected a version of {id_column} {keys[row]} for the valid sale "
                f"{frame['sale_id'][row]} of delivery {frame['delivery_id'][row]}, found none; either the "
                "topic of that master data was emptied, or another program writes valid sales. Deliver it again."
            )
    return filled
