"""Forecasts of whole groups: what all series of a region, department and the like are expected to sell together.

Guarantee: a pure function of columns. Only means are added up, since the mean of a sum is the sum of the means,
whatever the series have to do with each other; for quantiles that does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl


@dataclass(frozen=True, slots=True)
class Group:
    """What series can be grouped by.

    Attributes:
        name: As requests call it.
        column: As answers call it.
        of: Whether the location or the product of a series says it.
    """

    name: str
    column: str
    of: Literal["location", "product"]


GROUPS = (
    Group("location", "location_id", "location"),
    Group("region", "region", "location"),
    Group("kind", "kind", "location"),
    Group("product", "product_id", "product"),
    Group("category", "category", "product"),
    Group("department", "department", "product"),
)


def group_means(
    rows: pl.DataFrame, locations: pl.DataFrame, products: pl.DataFrame, groups: Sequence[Group]
) -> pl.DataFrame:
    """Add up expected quantities by group and day.

    Args:
        rows: Forecasts of single series: location_id, product_id, date, mean.
        locations: The locations as they stand: location_id and what groups of them are named for.
        products: The products, likewise.
        groups: What makes a group; none means that all series are one.

    Returns:
        For each group and day, sorted by them: the groups' columns, date, mean, and series, the number of series in it.
    """
    found = rows.lazy().select("location_id", "product_id", "date", "mean")
    for master, kind in ((locations, "location"), (products, "product")):
        key = f"{kind}_id"
        wanted = [one.column for one in groups if one.of == kind and one.column != key]
        if wanted:
            # A customer who has delivered none has a table without columns.
            known = master if master.height else pl.DataFrame(schema=dict.fromkeys([key, *wanted], pl.String))
            found = found.join(known.lazy().select(key, *wanted), on=key, how="left")
    keys = [one.column for one in groups]
    sums = found.group_by(*keys, "date").agg(
        pl.col("mean").cast(pl.Float64).sum(), series=pl.len().cast(pl.Int64)
    )
    return sums.sort(*keys, "date").collect()
