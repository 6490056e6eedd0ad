"""Small files of a chain merged into large ones, for a dataset that is made beside the lake.

Guarantee: a merged file stands for exactly the files of its run: the same rows, the same offsets, the same place in the
chain. It is never written into the folder that the small ones lie in: whoever lists that folder would see rows twice.
Only closed days are merged, those that a partition has gone beyond, so the end of a chain stays what its writer knows.
"""

from collections.abc import Sequence

import polars as pl

from lake.append import AppendTable
from lake.news import ReadFile
from lake.scan import collect, scan

ROWS_MAX = 1_000_000
"""Rows of a merged file; bounds the memory."""


def merged_runs(chain: Sequence[ReadFile], rows_max: int = ROWS_MAX) -> list[list[ReadFile]]:
    """The files of one partition's chain in runs that become one file each.

    Args:
        chain: The files in order.
        rows_max: Most rows of a run of more than one file.
    """
    runs: list[list[ReadFile]] = []
    rows = 0
    for file, footer in chain:
        joins = (
            runs
            and runs[-1][0][0].arrived_on == file.arrived_on < chain[-1][0].arrived_on
            and rows + footer.rows <= rows_max
        )
        if joins:
            runs[-1].append((file, footer))
            rows += footer.rows
        else:
            runs.append([(file, footer)])
            rows = footer.rows
    return runs


def merged(table: AppendTable, run: Sequence[ReadFile]) -> bytes:
    """One file that stands for a run; its name is that of the first.

    Raises:
        CorruptLakeError: A file is not what the lake wrote.
    """
    (_, first), (_, last) = run[0], run[-1]
    rows = collect(scan(table.store, [file.path for file, _ in run], table.table), table.store)
    frame = rows.select(pl.col(*table.table.file_schema.names))
    return table.file_bytes(frame, first.first_offset, last.next_offset, first.follows)
