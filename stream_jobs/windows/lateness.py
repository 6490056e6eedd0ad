"""Which sales came when windows that they belong to were closed, and which windows those are.

Pure. Guarantee: whether a sale is late follows from its own time and its location's watermark, never from what
else came in its batch.
"""

from collections.abc import Iterator

import polars as pl

from stream_jobs.windows.kinds import Kind, Windows, floored
from stream_jobs.windows.watermarks import NEVER_US

LATE_SCHEMA = pl.Schema(
    {
        "customer_id": pl.String(),
        "delivery_id": pl.Int64(),
        "position": pl.Int64(),
        "sale_id": pl.String(),
        "location_id": pl.String(),
        "product_id": pl.String(),
        "window": pl.String(),
        "start": pl.Int64(),
        "end": pl.Int64(),
        "missed": pl.Int64(),
        "late_us": pl.Int64(),
        "outcome": pl.String(),
        "time_zone": pl.String(),
    }
)
"""A late sale and the newest window that it missed; `start` and `end` in microseconds on the location's clock."""

NOT_COUNTED, NOT_REPLACED = "not_counted", "not_replaced"


def late_sales(
    rows: pl.DataFrame, corrections: pl.DataFrame, marks: pl.DataFrame, windows: Windows
) -> pl.DataFrame:
    """Name the late among new lines.

    Args:
        rows: New lines; columns of `lines.LINE_SCHEMA`.
        corrections: `lines.Replaced.corrections` of the same.
        marks: The marks of the locations in both; columns of `watermarks.MARK_SCHEMA`.
        windows: The windows that are kept.

    Returns:
        Columns of `LATE_SCHEMA`.
    """
    if marks["mark"].max() == NEVER_US:
        return LATE_SCHEMA.to_frame()
    found = [*_own(rows, corrections, marks, windows), *_of_lines_before(corrections, marks, windows)]
    return pl.concat(found) if found else LATE_SCHEMA.to_frame()


def _own(
    rows: pl.DataFrame, corrections: pl.DataFrame, marks: pl.DataFrame, windows: Windows
) -> Iterator[pl.DataFrame]:
    """Sales that windows of their own time lack; and withdrawals of what is no longer known."""
    first_ends = [_first_end(kind, pl.col("at")) + windows.grace_us for kind in windows.kinds]
    beside = rows.drop("mark").join(
        marks, on=["customer_id", "location_id"], how="left", maintain_order="left"
    )
    suspects = beside.filter(pl.min_horizontal(first_ends) <= pl.col("mark"))
    if suspects.is_empty():
        return
    now = marks.select("customer_id", location_id_before="location_id", mark_now="mark")
    told_by_line_before = corrections.join(now, on=["customer_id", "location_id_before"], how="left").filter(
        pl.col("mark_before") < pl.col("mark_now")
    )
    withdrawals = suspects.filter("voided").join(
        told_by_line_before, on=["customer_id", "delivery_id", "position"], how="anti"
    )
    for kind in windows.kinds:
        yield _missed(suspects.filter(~pl.col("voided")), kind, windows, pl.lit(NEVER_US), NOT_COUNTED)
        yield _missed(withdrawals, kind, windows, pl.lit(NEVER_US), NOT_REPLACED)


def _of_lines_before(
    corrections: pl.DataFrame, marks: pl.DataFrame, windows: Windows
) -> Iterator[pl.DataFrame]:
    """Corrections and withdrawals of lines that closed windows hold."""
    if corrections.is_empty():
        return
    before = corrections.filter(~pl.col("voided_before")).select(
        "customer_id",
        "delivery_id",
        "position",
        "sale_id",
        pl.col("location_id_before").alias("location_id"),
        pl.col("product_id_before").alias("product_id"),
        pl.col("at_before").alias("at"),
        pl.col("mark_before").alias("since"),
    )
    beside = before.join(marks, on=["customer_id", "location_id"], how="left", maintain_order="left")
    for kind in windows.kinds:
        yield _missed(beside, kind, windows, pl.col("since"), NOT_REPLACED)


def _first_end(kind: Kind, at: pl.Expr) -> pl.Expr:
    """End of the first window of a kind that holds a moment."""
    return at if kind.shape == "sliding" else kind.newest_start(at) + kind.hop_us


def _missed(rows: pl.DataFrame, kind: Kind, windows: Windows, since: pl.Expr, outcome: str) -> pl.DataFrame:
    """The windows that hold `at` and closed between the watermarks `since` and `mark`; rows without any go."""
    at, first = pl.col("at"), _first_end(kind, pl.col("at"))
    if kind.shape == "sliding":
        # Of the windows that end with later sales only those know that are still open.
        hop_us, newest = 1, at
        oldest = pl.when(at + windows.grace_us > since).then(at).otherwise(None)
    else:
        hop_us = kind.hop_us
        last = kind.newest_start(at) + kind.size_us
        newest = pl.min_horizontal(last, floored(pl.col("mark") - windows.grace_us, hop_us))
        oldest = pl.max_horizontal(first, floored(since - windows.grace_us, hop_us) + hop_us)
    return (
        rows.with_columns(end=newest, missed=(newest - oldest).floordiv(hop_us) + 1)
        .filter((pl.col("missed") > 0) & (pl.col("end") + windows.grace_us <= pl.col("mark")))
        .with_columns(
            start=pl.col("end") - kind.size_us,
            window=pl.lit(kind.name),
            late_us=pl.col("raw") - pl.col("end") - windows.grace_us,
            outcome=pl.lit(outcome),
        )
        .select(LATE_SCHEMA.names())
    )
