"""The lines of one customer in some raw files: ids first, then the full rows of those that count.

Guarantee: each file is read twice, once for its ids and once for its rows, and no more than a portion of the
files is in memory at once; the rows wait on the local disk in groups of days.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from infra.blobs import BlobStore
from lake.news import ReadFile
from lake.scan import collect, scan
from schemas.lake_tables import LAKE_TABLES, empty_frame

_JOINED, _SEALED = LAKE_TABLES["sales_joined"], LAKE_TABLES["sales_sealed"]
_IDS = ("sale_id", "delivery_id", "position", "sold_on", "voided")
PORTION_ROWS_MAX = 500_000


class LineSource:
    """Lines of a customer in raw files of `sales_joined`.

    Args:
        store: The blob store.
        customer_id: The retailer.
        files: The files, with their footers.
    """

    def __init__(self, store: BlobStore, customer_id: str, files: Sequence[ReadFile]) -> None:
        self._store = store
        self._customer_id = customer_id
        self._portions = list(_portions(files))

    def ids(self) -> pl.DataFrame:
        """What decides which lines count: `_IDS`, and `portion` and `row`, where the line lies."""
        found = []
        for number, paths in enumerate(self._portions):
            rows = scan(self._store, paths, _JOINED).select("customer_id", *_IDS).with_row_index("row")
            mine = rows.filter(pl.col("customer_id") == self._customer_id).drop("customer_id")
            found.append(collect(mine, self._store).with_columns(portion=pl.lit(number, pl.UInt32)))
        return pl.concat(found)

    def spill(self, lines: pl.DataFrame, groups: Sequence[Sequence[dt.date]], folder: Path) -> None:
        """Write the full rows of some lines to the local disk, by group of days.

        Args:
            lines: Lines to write: `portion`, `row`, `sold_on`.
            groups: Days of each group; every day of the lines is in one.
            folder: An empty local folder.
        """
        days = [day for group in groups for day in group]
        numbers = [number for number, group in enumerate(groups) for _ in group]
        group_of = pl.DataFrame({"sold_on": days, "group": numbers}, {"sold_on": pl.Date, "group": pl.UInt32})
        for number, paths in enumerate(self._portions):
            wanted = lines.filter(pl.col("portion") == number)["row"].sort()
            if wanted.is_empty():
                continue
            columns = scan(self._store, paths, _JOINED).select(_SEALED.schema.names)
            rows = collect(columns, self._store)[wanted].drop("customer_id").join(group_of, on="sold_on")
            for (group,), part in rows.partition_by("group", as_dict=True, include_key=False).items():
                part.write_ipc(folder / f"{group}-{number}.arrow", compression="lz4")

    def spilled(self, group: int, folder: Path) -> pl.DataFrame:
        """The rows of a group of days: the columns of `sales_sealed` without `customer_id`."""
        parts = [pl.read_ipc(path) for path in sorted(folder.glob(f"{group}-*.arrow"))]
        return pl.concat([empty_frame(_SEALED.schema).drop("customer_id"), *parts])


def _portions(files: Sequence[ReadFile]) -> Iterator[list[str]]:
    """Paths in portions of so many rows together, each at least one file."""
    portion: list[str] = []
    rows = 0
    for file, footer in files:
        if portion and rows + footer.rows > PORTION_ROWS_MAX:
            yield portion
            portion, rows = [], 0
        portion.append(file.path)
        rows += footer.rows
    if portion:
        yield portion
