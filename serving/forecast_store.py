"""The published forecasts of every customer in memory, exchanged whole when a new run is published.

Guarantee: whoever asks gets the old run or the new one, never parts of both, and never waits for a run that
is being loaded in place of another. Earlier runs are read from the lake when they are asked for. When the lake does
not answer, the last run goes on being served and `health` says so. Memory is bounded: runs that were not asked for
longest are let go and loaded again when asked for.
"""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol

from infra.errors import HeadraceError
from lake.forecast_status import ForecastStatus
from serving.forecast_run import RunTable

logger = logging.getLogger(__name__)

POLL_S = 2.0
BYTES_MAX = 2 * 2**30
PREVIOUS_S = 600.0
"""How long the run before the current one stays at hand for those who page through it, seconds."""

EARLIER_MAX = 2
"""Most other runs held; the one not asked for longest is let go."""


class RunSource(Protocol):
    """Where published runs are read. Every verb may block on the lake."""

    def current(self, customer_id: str) -> str | None:
        """Id of the run that is published now; None when none is."""
        ...

    def status(self, customer_id: str) -> ForecastStatus:
        """Whether the published run is the one that should be."""
        ...

    def load(self, customer_id: str, run_id: str) -> RunTable:
        """A run with all its rows."""
        ...

    def was_published(self, customer_id: str, run_id: str) -> bool:
        """Whether there is such a run, and it was current at some time."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A customer's published run, and the one before it for readers who are still paging through it.

    Attributes:
        run: The published run.
        status: Whether it is the one that should be.
        since_s: When it was taken, seconds of a steady clock.
        previous: The one before it, for a while.
    """

    run: RunTable
    status: ForecastStatus
    since_s: float
    previous: RunTable | None = None

    @property
    def size_bytes(self) -> int:
        """Memory held, bytes."""
        return self.run.size_bytes + (self.previous.size_bytes if self.previous else 0)


class ForecastStore:
    """Holds published runs and follows their pointers.

    Args:
        source: Where runs are read.
        poll_s: Time between two looks at the pointers, seconds.
        bytes_max: Most memory for all runs; one run may be larger and is then held alone.
    """

    def __init__(self, source: RunSource, poll_s: float = POLL_S, bytes_max: int = BYTES_MAX) -> None:
        self._source = source
        self._poll_s = poll_s
        self._bytes_max = bytes_max
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._earlier: OrderedDict[tuple[str, str], RunTable] = OrderedDict()
        self._lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def start(self) -> None:
        """Follow the pointers in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, name="forecast-pointers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is held stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def current(self, customer_id: str) -> RunTable | None:
        """The customer's published run; None when none is published. Blocks only when it is not held yet.

        Raises:
            UnavailableError: It is not held and the lake does not answer.
        """
        held = self.published(customer_id)
        return held.run if held else None

    def published(self, customer_id: str) -> Held | None:
        """The customer's published run with its status, both of one moment; blocks and raises as `current`."""
        held = self._use(customer_id)
        if held is None:
            with self._load_lock:
                # Another request may have loaded it while this one waited.
                held = self._use(customer_id) or self._look(customer_id, None)
        return held

    def status(self, customer_id: str) -> ForecastStatus:
        """Whether the customer's published run is the one that should be; blocks and raises as `current`."""
        held = self.published(customer_id)
        return held.status if held else self._source.status(customer_id)

    def at_hand(self, customer_id: str) -> RunTable | None:
        """The customer's published run if it is held; never blocks."""
        held = self._use(customer_id)
        return held.run if held else None

    def run(self, customer_id: str, run_id: str) -> RunTable | None:
        """A run that is or was published; None when there is none of this name. Blocks when it is not held.

        Raises:
            CorruptLakeError: It is not held, and its file is not what was written.
            UnavailableError: It is not held, and the lake does not answer.
        """
        self.current(customer_id)
        held, key = self._use(customer_id), (customer_id, run_id)
        for run in (held.run, held.previous) if held else ():
            if run is not None and run.origin.run_id == run_id:
                return run
        with self._load_lock:
            if key not in self._earlier:
                if not self._source.was_published(customer_id, run_id):
                    return None
                self._earlier[key] = self._source.load(customer_id, run_id)
                while len(self._earlier) > EARLIER_MAX:
                    self._earlier.popitem(last=False)
            self._earlier.move_to_end(key)
            return self._earlier[key]

    def refresh(self) -> None:
        """Look at the pointer of every customer held and exchange the runs that are no longer published.

        Raises:
            HeadraceError: The lake does not answer, or a run in it is not what it should be; the customers
                looked at before have been exchanged.
        """
        with self._lock:
            customers = list(self._held.items())
        for customer_id, held in customers:
            with self._load_lock:
                self._look(customer_id, held)

    def health(self) -> tuple[bool, str]:
        """Whether the pointers are being followed, and in words."""
        if self._thread is None or not self._thread.is_alive():
            return False, "nothing follows the pointers to published runs"
        return not self._trouble, self._trouble or "published runs are being followed"

    def _use(self, customer_id: str) -> Held | None:
        with self._lock:
            held = self._held.get(customer_id)
            if held is not None:
                self._held.move_to_end(customer_id)
            return held

    def _look(self, customer_id: str, held: Held | None) -> Held | None:
        """Hold what the pointer names now."""
        run_id = self._source.current(customer_id)
        if run_id is None:
            with self._lock:
                self._held.pop(customer_id, None)
            return None
        status, now_s = self._source.status(customer_id), time.monotonic()
        if held is None or held.run.origin.run_id != run_id:
            run = self._source.load(customer_id, run_id)
            found = Held(run, status, now_s, held.run if held else None)
        else:
            lasts = now_s <= held.since_s + PREVIOUS_S
            found = replace(held, status=status, previous=held.previous if lasts else None)
        with self._lock:
            self._held[customer_id] = found
            self._let_go(customer_id)
        return found

    def _let_go(self, kept: str) -> None:
        """Let go of the runs not asked for longest until the bound is kept."""
        total = sum(held.size_bytes for held in self._held.values())
        for customer_id in list(self._held):
            if total <= self._bytes_max:
                return
            if customer_id != kept:
                total -= self._held.pop(customer_id).size_bytes

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.refresh()
                self._trouble = ""
            except HeadraceError as error:
                if str(error) != self._trouble:
                    logger.warning("forecasts: %s; the last run goes on being served", error)
                self._trouble = str(error)
