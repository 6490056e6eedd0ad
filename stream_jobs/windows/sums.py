"""What windows amount to: sums of a grid that are kept, and sliding ones worked out from the lines.

Pure functions of columns. Quantities and revenues are whole millionths, so sums are exact.
"""

from collections.abc import Sequence

import polars as pl

from stream_jobs.windows.kinds import Kind, Windows
from stream_jobs.windows.lines import SERIES

SUM_SCHEMA = pl.Schema(
    {
        "window": pl.String(),
        "customer_id": pl.String(),
        "location_id": pl.String(),
        "product_id": pl.String(),
        "start": pl.Int64(),
        "end": pl.Int64(),
        "quantity": pl.Int64(),
        "revenue": pl.Int64(),
        "priced": pl.Int64(),
        "sales": pl.Int64(),
    }
)
"""A window: `start` and `end` in microseconds on the location's clock, sums in millionths, `priced` the number of
sales with a price."""

WINDOW = ("window", *SERIES, "start", "end")
AMOUNTS = ("quantity", "revenue", "priced", "sales")


def counted(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines as amounts to be summed; withdrawals are left out."""
    return lines.filter(~pl.col("voided")).select(
        *SERIES,
        "at",
        "quantity",
        pl.col("revenue").fill_null(0),
        priced=pl.col("revenue").is_not_null().cast(pl.Int64),
        sales=pl.lit(1, dtype=pl.Int64),
    )


def negative(amounts: pl.DataFrame) -> pl.DataFrame:
    """The same amounts to be taken away."""
    return amounts.with_columns(-pl.col(AMOUNTS))


def of_grid(amounts: pl.DataFrame, marks: pl.DataFrame, windows: Windows) -> list[pl.DataFrame]:
    """What amounts add to the open windows of each grid.

    Args:
        amounts: Columns of `counted`.
        marks: The marks of their locations.
        windows: The windows that are kept.

    Returns:
        For each grid columns of `SUM_SCHEMA`.
    """
    found = []
    for kind in windows.grids:
        panes = amounts.group_by(*SERIES, kind.newest_start(pl.col("at")).alias("start")).agg(
            pl.col(AMOUNTS).sum()
        )
        if kind.hops > 1:
            panes = (
                panes.with_columns(hop=pl.int_ranges(0, kind.hops))
                .explode("hop")
                .with_columns(start=pl.col("start") - pl.col("hop") * kind.hop_us)
                .drop("hop")
            )
        open_ones = (
            panes.with_columns(window=pl.lit(kind.name), end=pl.col("start") + kind.size_us)
            .join(
                marks.select("customer_id", "location_id", "mark"),
                on=["customer_id", "location_id"],
                how="left",
            )
            .filter(pl.col("end") + windows.grace_us > pl.col("mark"))
        )
        found.append(open_ones.select(SUM_SCHEMA.names()))
    return found


def summed(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Parts of windows as whole ones."""
    return pl.concat(parts).group_by(WINDOW).agg(pl.col(AMOUNTS).sum())


def sliding(lines: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    """All windows of a sliding kind that end with one of the lines.

    Args:
        lines: Columns of `lines.LINE_SCHEMA`: all that lie in the windows that are wanted.
        kind: The kind.

    Returns:
        Columns of `SUM_SCHEMA`.
    """
    moments = counted(lines).group_by(*SERIES, "at").agg(pl.col(AMOUNTS).sum())
    if moments.is_empty():
        return SUM_SCHEMA.to_frame()
    reach = f"{kind.size_us}i"
    return (
        moments.sort(*SERIES, "at")
        .rolling("at", period=reach, closed="right", group_by=list(SERIES))
        .agg(pl.col(AMOUNTS).sum())
        .rename({"at": "end"})
        .with_columns(window=pl.lit(kind.name), start=pl.col("end") - kind.size_us)
        .select(SUM_SCHEMA.names())
    )
