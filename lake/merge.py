"""Which line of a sale counts, and what a day amounts to: pure functions of columns.

Guarantee: of all lines with one sale id the one with the highest (delivery_id, position) counts, in whatever
order and however often they are seen; a withdrawal counts like any other line. Merging what was merged before
changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

VERSION = ("delivery_id", "position")


@dataclass(frozen=True, slots=True)
class Merge:
    """What new lines change in the sealed sales.

    Attributes:
        removed: Lines to be taken out: `sale_id`, `sold_on` (the day that they lie in).
        added: Lines to be put in: the columns of the new lines.
        withdrawn: All withdrawals that stand afterwards: `sale_id`, `delivery_id`, `position`.
        withdrawn_changed: Whether that is another set than before.
    """

    removed: pl.DataFrame
    added: pl.DataFrame
    withdrawn: pl.DataFrame
    withdrawn_changed: bool


def newest(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Of the rows with the same key the one with the highest (delivery_id, position)."""
    return rows.sort(VERSION).unique(key, keep="last", maintain_order=False)


def merge(new: pl.DataFrame, sealed: pl.DataFrame, withdrawn: pl.DataFrame) -> Merge:
    """Judge new lines against what is sealed.

    Args:
        new: New lines: at least `sale_id`, `delivery_id`, `position`, `sold_on` and `voided`; any number of
            them for a sale.
        sealed: The sealed lines with the same sale ids: `sale_id`, `delivery_id`, `position`, `sold_on`.
        withdrawn: All withdrawals: `sale_id`, `delivery_id`, `position`.
    """
    latest = newest(new, ["sale_id"])
    before = latest.join(sealed, on="sale_id", how="left", suffix="_sealed").join(
        withdrawn, on="sale_id", how="left", suffix="_withdrawn"
    )
    counting = before.filter(_later_than("sealed") & _later_than("withdrawn"))
    gone = counting.filter("voided").select("sale_id", *VERSION)
    stay = withdrawn.join(counting.select("sale_id"), on="sale_id", how="anti")
    return Merge(
        removed=counting.filter(pl.col("sold_on_sealed").is_not_null()).select(
            "sale_id", sold_on=pl.col("sold_on_sealed")
        ),
        added=counting.filter(~pl.col("voided")).select(new.columns),
        withdrawn=pl.concat([stay, gone]),
        withdrawn_changed=len(gone) > 0 or len(stay) < len(withdrawn),
    )


def _later_than(suffix: str) -> pl.Expr:
    """Whether a line is later than its counterpart, or has none."""
    delivery, position = (pl.col(f"{name}_{suffix}") for name in VERSION)
    same_delivery_later = (pl.col("delivery_id") == delivery) & (pl.col("position") > position)
    return delivery.is_null() | (pl.col("delivery_id") > delivery) | same_delivery_later


def daily(lines: pl.DataFrame) -> pl.DataFrame:
    """Sum the sealed lines of one day by location and product.

    Args:
        lines: Lines of `sales_sealed`.

    Returns:
        The columns of a file of `sales_daily`. A revenue is the sum of the known ones and null when none is
        known; the attributes are those of the line that was delivered last.
    """
    attributes = [
        *("location_name", "region", "location_kind", "currency"),
        *("product_name", "department", "category", "unit"),
    ]
    return (
        lines.sort(VERSION)
        .group_by("location_id", "product_id", maintain_order=True)
        .agg(
            pl.col("quantity").sum(),
            pl.when(pl.col("revenue").count() > 0).then(pl.col("revenue").sum()).alias("revenue"),
            pl.len().cast(pl.Int64).alias("sales"),
            pl.col(*attributes).last(),
        )
    )
