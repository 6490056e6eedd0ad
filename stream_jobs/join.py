"""Valid sales joined with their location and product, into the lake.

Guarantee: each valid sale is one row of `sales_joined`, with the attributes that its location and product had
as of its delivery, and with the day on which it was sold where it was sold. See `stream_jobs.sink` for why
once, and `stream_jobs.ordering` for why the same at any speed.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.blobs import BlobStore
from infra.settings import Settings
from lake.append import AppendTable
from schemas.catalogue import SALES_VALIDATED
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.batches import Batch, Place, Rows
from stream_jobs.local_days import local_days
from stream_jobs.master_reader import MasterReader
from stream_jobs.master_tables import (
    LOCATION_COLUMNS,
    PRODUCT_COLUMNS,
    UNKNOWN,
    MasterTables,
    coded_keys,
    or_oldest,
)
from stream_jobs.runtime import Stream
from stream_jobs.sink import Piece, Sink, check_passable, group_of, pieces, with_source
from stream_jobs.waiting import Gate, WaitingRoom, Work

logger = logging.getLogger(__name__)

JOB = "join"
TABLE = "sales_joined"

_LOCATION_NAMES = {"name": "location_name", "kind": "location_kind"}
_PRODUCT_NAMES = {"name": "product_name"}


@dataclass(frozen=True, slots=True)
class Found:
    """Where the master data of sales lies in the tables.

    Attributes:
        locations: Row of each sale's location, or `UNKNOWN`; shape `(n_rows,)`.
        products: Row of each sale's product, or `UNKNOWN`; shape `(n_rows,)`.
    """

    locations: Rows
    products: Rows

    def missing(self, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Where a sale lacks its location or product; a withdrawal may. Shape `(n_rows,)`."""
        lacking: npt.NDArray[np.bool_] = (self.locations == UNKNOWN) | (self.products == UNKNOWN)
        withdrawn: npt.NDArray[np.bool_] = frame["voided"].to_numpy()
        return lacking & ~withdrawn


def find(frame: pl.DataFrame, tables: MasterTables) -> Found:
    """Look up the master data of sales as of their deliveries."""
    deliveries = frame["delivery_id"]
    return Found(
        tables.locations.lookup(coded_keys(frame, "location_id"), deliveries),
        tables.products.lookup(coded_keys(frame, "product_id"), deliveries),
    )


def _without_days(columns: Iterable[str]) -> list[str]:
    """The attributes that a joined sale has: all but the first and last days of business or sale."""
    return [name for name in columns if not name.endswith("_on")]


def join_sales(frame: pl.DataFrame, found: Found, tables: MasterTables) -> pl.DataFrame:
    """Sales with their location's and product's attributes, local day and revenue.

    Args:
        frame: Columns of Sale, `n_rows` rows.
        found: Where the master data of each lies.
        tables: Locations and products.
    """
    locations = tables.locations.gather(found.locations, _without_days(LOCATION_COLUMNS))
    products = tables.products.gather(found.products, _without_days(PRODUCT_COLUMNS))
    sold_on = local_days(frame["sold_at"], locations["time_zone"])
    return frame.with_columns(
        sold_on.alias("sold_on"),
        (pl.col("quantity") * pl.col("unit_price")).alias("revenue"),
        *locations.rename(_LOCATION_NAMES).get_columns(),
        *products.rename(_PRODUCT_NAMES).get_columns(),
    )


class JoinIntake:
    """Joins what may be joined, holds the rest; a `sink.Intake`.

    Args:
        settings: How long master data is waited for.
        stream: The loop.
        reader: What this process knows of deliveries and master data.
        registry: Where schemas have their ids.
        table: The table joined into.
    """

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        reader: MasterReader,
        registry: Registry,
        table: AppendTable,
    ) -> None:
        self._reader = reader
        self._codec = Codec(SALES_VALIDATED, registry)
        self._gate = Gate(reader, settings.stream.master_wait_s_max)
        self._waiting = WaitingRoom(self._gate, stream, JOB)
        self._columns = table.table.file_schema.names

    def take(self, batch: Batch) -> Iterable[Piece]:
        """Join what is ready of a batch."""
        work = Work.decoded(batch, self._codec)
        check_passable(batch, work.bad)
        return self._join(self._waiting.admit(work, time.monotonic()))

    def turn(self, now_s: float) -> Iterable[Piece]:
        """Follow the master data, and join what has become ready."""
        if self._reader.follow():
            self._gate.forget()
        return [piece for work in self._waiting.released(now_s) for piece in self._join(work)]

    def drop(self, places: Sequence[Place]) -> None:
        """Forget what is held of these partitions."""
        self._waiting.drop(places)

    def _join(self, work: Work) -> list[Piece]:
        if not len(work.batch):
            return []
        found = self._found(work.frame)
        joined = join_sales(work.frame, found, self._reader.tables)
        rows = with_source(joined, work.batch, work.rows).select(self._columns)
        return pieces(work.batch, rows, work.rows)

    def _found(self, frame: pl.DataFrame) -> Found:
        """Where the master data of valid sales lies.

        Validation has seen it. If this process has not, it is read now; if its version has been compacted
        away since, the oldest one that is left is the nearest.
        """
        tables = self._reader.tables
        found = find(frame, tables)
        if not found.missing(frame).any():
            return found
        self._reader.catch_up()
        found = find(frame, tables)
        missing = found.missing(frame)
        if not missing.any():
            return found
        logger.warning(
            "%d valid sales name locations or products of which no version before their delivery is left; "
            "joined with the oldest one. Compaction must not reach sales that still wait: see "
            "`headrace topics check`",
            int(missing.sum()),
        )
        return Found(
            or_oldest(found.locations, missing, frame, "location_id", tables.locations),
            or_oldest(found.products, missing, frame, "product_id", tables.products),
        )


def run_join(settings: Settings, store: BlobStore, stop: threading.Event) -> None:
    """Join valid sales into the lake until `stop` is set.

    Args:
        settings: Where everything is, and when a file is closed.
        store: The lake.
        stop: Set it to flush what is buffered and end.

    Raises:
        HeadraceError: What stops the job; start it again, or mend what the text says.
    """
    registry = Registry(settings)
    reader: MasterReader | None = None
    try:
        reader = MasterReader(settings, registry, store, JOB)
        reader.start(stop)
        table = AppendTable(store, TABLE)
        stream = Stream(settings, [SALES_VALIDATED], group_of(JOB, settings))
        intake = JoinIntake(settings, stream, reader, registry, table)
        stream.run(Sink(settings, stream, {SALES_VALIDATED: table}, intake), stop)
    finally:
        if reader is not None:
            reader.close()
        registry.close()
