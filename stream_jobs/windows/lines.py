"""The sales that a window may still need: each as its last delivery left it.

Guarantee: of the lines with one sale id that have come, the one with the highest (delivery_id, position) stands,
in whatever order they came, as in the lake (`lake.merge`). A withdrawal stands as a line that counts nothing.
The cost of looking sales up follows the batch: sorted hashes of the ids stand ready, and the lines themselves are gone
through only when one of them is there.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.merge import VERSION, newest

SALE = ("customer_id", "sale_id")
SERIES = ("customer_id", "location_id", "product_id")

LINE_SCHEMA = pl.Schema(
    {
        "customer_id": pl.String(),
        "sale_id": pl.String(),
        "location_id": pl.String(),
        "product_id": pl.String(),
        "delivery_id": pl.Int64(),
        "position": pl.Int64(),
        "at": pl.Int64(),
        "quantity": pl.Int64(),
        "revenue": pl.Int64(),
        "voided": pl.Boolean(),
        "mark": pl.Int64(),
    }
)
"""A line: `at` in microseconds on the location's clock, `quantity` and `revenue` (null without a price) in
millionths, `mark` the location's watermark when the line came."""

MILLIONTHS = 1_000_000
MILLIONTHS_MAX = 9.0e18

_HASH = "(hash)"
_CHUNKS_MAX = 64

Hashes = npt.NDArray[np.uint64]


def millionths(value: pl.Expr) -> pl.Expr:
    """Numbers as whole millionths, whose sums are exact whatever their order and whatever is taken back."""
    scaled = (value * MILLIONTHS).round().clip(-MILLIONTHS_MAX, MILLIONTHS_MAX)
    return scaled.cast(pl.Int64)


class HashRuns:
    """A set of hashes that grows by batches: sorted runs, merged as they become alike in size."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, hashes: Hashes) -> None:
        """Put hashes in."""
        self._runs.append(np.sort(hashes))
        while len(self._runs) > 1 and 2 * len(self._runs[-1]) > len(self._runs[-2]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")

    def holds(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of these are in, shape of `hashes`."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for run in self._runs:
            place = np.minimum(np.searchsorted(run, hashes), max(len(run) - 1, 0))
            if len(run):
                found |= run[place] == hashes
        return found


@dataclass(frozen=True, slots=True)
class Replaced:
    """What new lines changed.

    Attributes:
        added: The new lines that stand now; columns of `LINE_SCHEMA`.
        removed: The lines that stood before in their place; columns of `LINE_SCHEMA`.
        corrections: Of each line that stood before, the first new line that was later than it: columns of
            `LINE_SCHEMA`, and those of the line before with the ending `_before`.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    corrections: pl.DataFrame


class KnownLines:
    """The lines of one partition."""

    def __init__(self, lines: pl.DataFrame | None = None) -> None:
        self._lines = _hashed(LINE_SCHEMA.to_frame() if lines is None else lines)
        self._hashes = HashRuns()
        self._hashes.add(self._lines[_HASH].to_numpy())

    @property
    def frame(self) -> pl.DataFrame:
        """All lines; columns of `LINE_SCHEMA`."""
        return self._lines.drop(_HASH)

    def __len__(self) -> int:
        return self._lines.height

    def replace(self, rows: pl.DataFrame) -> Replaced:
        """Take in new lines.

        Args:
            rows: Columns of `LINE_SCHEMA`, in the order in which they came.
        """
        rows = _hashed(rows)
        hashes = rows[_HASH].to_numpy()
        hit = self._hashes.holds(hashes)
        if not hit.any() and rows[_HASH].n_unique() == rows.height:
            self._append(rows)
            return Replaced(rows.drop(_HASH), _NO_LINES, _NO_CORRECTIONS)
        before = self._lines.filter(pl.col(_HASH).is_in(pl.Series(np.unique(hashes[hit])).implode())).join(
            rows, on=SALE, how="semi", maintain_order="left"
        )
        latest = newest(rows, SALE)
        added = _later(latest, before)
        removed = before.join(added, on=SALE, how="semi", maintain_order="left")
        if removed.height:
            suspects = pl.col(_HASH).is_in(removed[_HASH].implode())
            stay = self._lines.filter(suspects).join(removed, on=SALE, how="anti", maintain_order="left")
            self._lines = self._lines.filter(~suspects).vstack(stay)
        self._append(added)
        corrections = _corrections(rows.drop(_HASH), before.drop(_HASH))
        return Replaced(added.drop(_HASH), removed.drop(_HASH), corrections)

    def _append(self, rows: pl.DataFrame) -> None:
        self._lines = self._lines.vstack(rows)
        if self._lines.n_chunks() > _CHUNKS_MAX:
            self._lines = self._lines.rechunk()
        self._hashes.add(rows[_HASH].to_numpy())

    def forget(self, over: pl.Expr, marks: pl.DataFrame) -> None:
        """Drop the lines for which `over` is true, with the columns of `marks` beside their own."""
        beside = self._lines.drop("mark").join(
            marks, on=["customer_id", "location_id"], how="left", maintain_order="left"
        )
        self._lines = self._lines.filter(~beside.select(over=over)["over"].fill_null(value=False))
        if len(self._hashes) > 2 * self._lines.height:
            self._hashes = HashRuns()
            self._hashes.add(self._lines[_HASH].to_numpy())


def _hashed(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(pl.struct(*SALE).hash().alias(_HASH))


def _later(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The rows that are later than the line before, or have none."""
    if before.is_empty():
        return rows
    beside = rows.join(before.select(*SALE, *VERSION), on=SALE, how="left", suffix="_before")
    return beside.filter(pl.col("delivery_id_before").is_null() | _is_later()).select(rows.columns)


def _is_later() -> pl.Expr:
    same = pl.col("delivery_id") == pl.col("delivery_id_before")
    return (pl.col("delivery_id") > pl.col("delivery_id_before")) | (
        same & (pl.col("position") > pl.col("position_before"))
    )


def _corrections(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    beside = rows.join(before, on=SALE, how="inner", suffix="_before", maintain_order="left")
    return beside.filter(_is_later()).unique(SALE, keep="first", maintain_order=True)


_NO_LINES = LINE_SCHEMA.to_frame()
_NO_CORRECTIONS = _corrections(_NO_LINES, _NO_LINES)
