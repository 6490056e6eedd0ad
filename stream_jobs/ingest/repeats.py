"""Which sale ids of a delivery came before, without keeping the ids.

Guarantee: the first record with an id is never marked, each later one is. Ids are kept as 64-bit hashes, 8
bytes a record: of a hundred million different ids two share a hash once in some four thousand deliveries.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]


class Repeats:
    """The ids of one delivery so far."""

    def __init__(self) -> None:
        # Sorted runs, each at least twice as long as the next: a look-up costs few searches, a record few
        # merges.
        self._runs: list[Hashes] = []

    def mark(self, ids: pl.Series) -> pl.Series:
        """Take in the next records' ids.

        Args:
            ids: Ids in the order of the delivery; nulls are never repeated.

        Returns:
            True where an earlier record, of this call or an earlier one, has the same id; shape as `ids`.
        """
        present = ids.is_not_null().to_numpy()
        hashes = ids.filter(pl.Series(present)).hash(seed=0).to_numpy()
        distinct, first_at = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), dtype=np.bool_)
        repeated[first_at] = False
        known = np.zeros(len(distinct), dtype=np.bool_)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            known |= run[places] == distinct
        repeated[first_at[known]] = True
        self._add(distinct[~known])
        marks = np.zeros(len(ids), dtype=np.bool_)
        marks[present] = repeated
        return pl.Series("repeated", marks)

    def _add(self, run: Hashes) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
