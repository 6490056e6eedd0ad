"""The newest windowed sums, kept in memory for people to ask.

Follows `sales-windows` in a thread of its own, from so far back that at most `ROWS_MAX` messages are read at the
start. Guarantee: memory is bounded by `ROWS_MAX` windows, those that changed last; a question is answered from
a table that does not change under it.
"""

import logging
import threading
import time
from collections.abc import Sequence

import polars as pl
from confluent_kafka import Message

from infra.errors import HeadraceError
from infra.extents import extents
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import SALES_WINDOWS
from schemas.codec import Codec
from schemas.registry import Registry
from serving.ports import WINDOW_COLUMNS, WindowTable
from stream_jobs.local_days import local_days

logger = logging.getLogger(__name__)

ROWS_MAX = 1_000_000
PENDING_ROWS_MAX = 100_000
SHOW_EVERY_S = 1.0
FOLLOW_S = 0.2
RETRY_S = 5.0

_KEY = "(key)"


class WindowsView:
    """The windows that changed last.

    Args:
        settings: Where broker and registry are.
        rows_max: Most windows kept, and most messages read at the start.
    """

    def __init__(self, settings: Settings, rows_max: int = ROWS_MAX) -> None:
        self._settings = settings
        self._rows_max = rows_max
        self._registry = Registry(settings)
        self._codec = Codec(SALES_WINDOWS, self._registry)
        self._rows = self._columns([])
        self._pending: list[pl.DataFrame] = []
        self._pending_rows = 0
        self._ready = False

    def windows(self, customer_id: str) -> WindowTable:
        """The customer's windows; no rows when there are none."""
        rows = self._rows.filter(pl.col("customer_id") == customer_id)
        return WindowTable(rows.select(WINDOW_COLUMNS), self._ready)

    def follow(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop; trouble is logged and tried again from the start."""
        while not stop.is_set():
            try:
                self._follow(stop)
            except HeadraceError as error:
                logger.warning("windows: %s; trying again in %g s", error, RETRY_S)
                stop.wait(RETRY_S)

    def _follow(self, stop: threading.Event) -> None:
        reader = self._reader()
        try:
            for messages in reader.read_to_end():
                self._take(messages)
                if stop.is_set():
                    return
            self._show()
            self._ready = True
            shown_s = time.monotonic()
            while not stop.is_set():
                self._take(reader.poll(timeout_s=FOLLOW_S))
                if time.monotonic() - shown_s >= SHOW_EVERY_S:
                    self._show()
                    shown_s = time.monotonic()
        finally:
            reader.close()

    def _reader(self) -> TopicReader:
        now = extents(self._settings, [SALES_WINDOWS])
        each = self._rows_max // len(now)
        starts = {place: max(extent.first, extent.end - each) for place, extent in now.items()}
        return TopicReader(self._settings, [SALES_WINDOWS], "windows-view", starts)

    def _take(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        self._pending.append(self._columns(messages))
        self._pending_rows += len(messages)
        if self._pending_rows >= PENDING_ROWS_MAX:
            self._show()

    def _columns(self, messages: Sequence[Message]) -> pl.DataFrame:
        """Windows by key; one that was withdrawn has no columns but its key."""
        decoded = self._codec.decode([message.value() for message in messages])
        keys = pl.Series(_KEY, [(message.key() or b"").decode() for message in messages], dtype=pl.String)
        frame = decoded.frame.with_columns(
            local_days(decoded.frame["starts_at"], decoded.frame["time_zone"]).alias("starts_on")
        )
        told = frame.with_columns(keys.gather(decoded.rows).alias(_KEY), place=pl.Series(decoded.rows))
        gone = pl.DataFrame({"place": list(decoded.bad)}, schema={"place": pl.Int64})
        gone = gone.with_columns(keys.gather(gone["place"]).alias(_KEY))
        return pl.concat([told, gone], how="diagonal").sort("place").drop("place")

    def _show(self) -> None:
        if not self._pending:
            return
        rows = pl.concat([self._rows, *self._pending]).unique(_KEY, keep="last", maintain_order=True)
        self._rows = rows.filter(pl.col("sales").is_not_null()).tail(self._rows_max)
        self._pending, self._pending_rows = [], 0

    def close(self) -> None:
        """Leave the registry."""
        self._registry.close()
