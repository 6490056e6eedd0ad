"""One published run of one customer in memory, indexed by location and product.

Guarantee: a run never changes, so a position in it means the same on every page. Finding a series costs two
binary searches, not a scan; no day of another series is touched.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
KEYS = ("location_id", "product_id", "date")
COLUMNS = (*KEYS, "mean", *QUANTILES)
PIECE_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Selection:
    """Which forecasts are asked for; None leaves a dimension open. Both days are inclusive.

    With `location_ids` none but these locations are, whichever `location_id` is asked for.
    """

    location_id: str | None = None
    product_id: str | None = None
    start: date | None = None
    end: date | None = None
    location_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where forecasts come from: what every answer says beside them."""

    customer_id: str
    run_id: str
    model: str
    made_on: date
    manifest: int

    def fields(self) -> dict[str, object]:
        """The fields as an answer shows them."""
        return {
            "customer_id": self.customer_id,
            "run_id": self.run_id,
            "model": self.model,
            "made_on": self.made_on,
            "manifest": self.manifest,
        }


@dataclass(frozen=True)
class RunTable:
    """A run's forecasts and their index; made by `index_run`.

    Attributes:
        origin: Where the forecasts come from.
        rows: `COLUMNS`, sorted by location, product and date.
        locations: By location the first of its rows and the one after its last.
        products: Ids of the products, sorted; shape `(n_products,)`.
        codes: Each row's place in `products`; shape `(n_rows,)`.
        days: Each row's date as days since 1970; shape `(n_rows,)`.
    """

    origin: Origin
    rows: pl.DataFrame
    locations: Mapping[str, tuple[int, int]]
    products: Mapping[str, int]
    codes: npt.NDArray[np.int32]
    days: npt.NDArray[np.int32]

    @cached_property
    def size_bytes(self) -> int:
        """Memory held, bytes, without the small index of ids."""
        return int(self.rows.estimated_size()) + self.codes.nbytes + self.days.nbytes

    def page(self, wanted: Selection, position: int, limit: int) -> tuple[pl.DataFrame, int | None]:
        """One page of the rows that are wanted, in the run's order.

        Args:
            wanted: Which rows.
            position: First row of the run to be considered; 0 on the first page.
            limit: Most rows in the page.

        Returns:
            The page, and the position at which the next one begins; None if there is none.
        """
        first, stop = self._bounds(wanted)
        first = max(first, position)
        if first >= stop:
            return self.rows.clear(), None
        places = self._places(wanted, first, stop)
        if places is None:
            following = first + limit
            return self.rows.slice(first, min(limit, stop - first)), following if following < stop else None
        taken = places[: limit + 1]
        following_place = int(taken[limit]) if len(taken) > limit else None
        return self.rows[taken[:limit]], following_place

    def series(
        self, keys: Sequence[tuple[str, str]], start: date | None, end: date | None
    ) -> tuple[pl.DataFrame, list[tuple[str, str]]]:
        """The rows of some series, in the order asked.

        Args:
            keys: Location and product of each.
            start: First day, inclusive; None for the run's.
            end: Last day, inclusive; None for the run's.

        Returns:
            The rows, and the series of which there is none.
        """
        bounds = {key: self._bounds(Selection(*key, start, end)) for key in keys}
        places = [np.arange(first, stop) for first, stop in bounds.values() if first < stop]
        missing = [key for key in bounds if self._bounds(Selection(*key)) == (0, 0)]
        return self.rows[np.concatenate(places)] if places else self.rows.clear(), missing

    def rows_of(self, location_ids: Sequence[str] | None) -> int:
        """Number of rows of some locations; of all when None."""
        return sum(stop - first for first, stop in self._stretches(location_ids))

    def pieces(self, location_ids: Sequence[str] | None, rows_max: int) -> Iterator[pl.DataFrame]:
        """All rows in the run's order, some at a time; one piece without rows when there are none.

        Args:
            location_ids: Of these locations only; None for all.
            rows_max: Most rows of a piece.
        """
        if not self.rows_of(location_ids):
            yield self.rows.clear()
        for first, stop in self._stretches(location_ids):
            for begin in range(first, stop, rows_max):
                yield self.rows.slice(begin, min(rows_max, stop - begin))

    def _stretches(self, location_ids: Sequence[str] | None) -> list[tuple[int, int]]:
        """Where the rows of some locations lie, in the run's order."""
        if location_ids is None:
            return [(0, len(self.codes))]
        return [self.locations[one] for one in sorted(location_ids) if one in self.locations]

    def _bounds(self, wanted: Selection) -> tuple[int, int]:
        """The narrowest contiguous stretch of rows that holds all that is wanted."""
        if wanted.location_id is None:
            return 0, len(self.codes)
        if wanted.location_ids is not None and wanted.location_id not in wanted.location_ids:
            return 0, 0
        first, stop = self.locations.get(wanted.location_id, (0, 0))
        if wanted.product_id is None:
            return first, stop
        code = self.products.get(wanted.product_id)
        if code is None:
            return 0, 0
        # Within a location the rows are sorted by product, then by date: two searches for each key.
        codes = self.codes[first:stop]
        # Of their own type: for another numpy would convert all the codes first.
        left, right = np.searchsorted(codes, np.array([code, code + 1], codes.dtype), side="left")
        first, stop = first + int(left), first + int(right)
        days = self.days[first:stop]
        low = 0 if wanted.start is None else int(np.searchsorted(days, _day(wanted.start), side="left"))
        high = len(days) if wanted.end is None else int(np.searchsorted(days, _day(wanted.end), side="right"))
        return first + low, first + max(low, high)

    def _places(self, wanted: Selection, first: int, stop: int) -> npt.NDArray[np.int64] | None:
        """The wanted rows between `first` and `stop`; None means all of them."""
        rows: slice | npt.NDArray[np.int64] = slice(first, stop)
        if wanted.location_id is None and wanted.location_ids is not None:
            rows = self._rows_of(wanted.location_ids, first, stop)
        masks = []
        if wanted.product_id is not None and wanted.location_id is None:
            masks.append(self.codes[rows] == self.products.get(wanted.product_id, -1))
        if wanted.location_id is None or wanted.product_id is None:
            masks += [self.days[rows] >= _day(wanted.start)] if wanted.start is not None else []
            masks += [self.days[rows] <= _day(wanted.end)] if wanted.end is not None else []
        if isinstance(rows, slice):
            return np.flatnonzero(np.logical_and.reduce(masks)) + first if masks else None
        return rows[np.logical_and.reduce(masks)] if masks else rows

    def _rows_of(self, location_ids: Iterable[str], first: int, stop: int) -> npt.NDArray[np.int64]:
        """The rows of some locations between `first` and `stop`, in the run's order."""
        found = sorted(self.locations[one] for one in set(location_ids) if one in self.locations)
        stretches = [np.arange(max(low, first), min(high, stop), dtype=np.int64) for low, high in found]
        return np.concatenate(stretches) if stretches else np.empty(0, np.int64)


def _day(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def index_run(origin: Origin, frame: pl.DataFrame) -> RunTable:
    """Index a run's forecasts.

    Args:
        origin: Where they come from.
        frame: At least the columns `COLUMNS`, in any order of rows; the lake has them in order.
    """
    rows = frame.select(COLUMNS)
    if not _in_order(rows):
        rows = rows.sort(KEYS)
    # The rows are sorted by location: the lengths of the groups, in order, are the bounds of the stretches.
    sizes = rows.group_by("location_id", maintain_order=True).len()
    stretches = zip(
        sizes["location_id"].to_list(), sizes["len"].cum_sum().to_list(), sizes["len"].to_list(), strict=True
    )
    locations = {name: (stop - size, stop) for name, stop, size in stretches}
    ids = rows["product_id"].unique().sort()
    products = {product_id: code for code, product_id in enumerate(ids.to_list())}
    codes = rows["product_id"].cast(pl.Enum(ids)).to_physical().cast(pl.Int32)
    days = rows["date"].to_physical().cast(pl.Int32)
    return RunTable(origin, rows, locations, products, codes.to_numpy(), days.to_numpy())


def _in_order(rows: pl.DataFrame) -> bool:
    """Whether rows are sorted by `KEYS` already: each key rises where those before it stay the same."""
    keys = rows.select(KEYS)
    for first in range(0, rows.height, PIECE_ROWS):  # What is compared takes as much memory as the rows.
        before, after = keys.slice(first, PIECE_ROWS), keys.slice(first + 1, PIECE_ROWS)
        before = before.head(after.height)
        rises = pl.Series([False]).new_from_index(0, after.height)
        for name in reversed(KEYS):
            rises = (after[name] > before[name]) | ((after[name] == before[name]) & rises)
        if not rises.all():
            return False
    return True
