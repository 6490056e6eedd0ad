"""What late deliveries changed: days that were sealed again, and the forecast from them beside the one in use.

Guarantee: pure, but for `corrections`, which reads the run in use and its manifest.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from flows.customer_day import Trained
from infra.blobs import BlobStore
from lake.forecasts import ForecastRun, forecast_frame
from lake.manifests import Manifest, load_manifest

NAMED_MAX = 3
"""Days and series named in a sentence."""
KEYS = ("location_id", "product_id", "date")


def corrections(
    store: BlobStore, champion: ForecastRun | None, manifest: Manifest, trained: Trained
) -> tuple[str, ...]:
    """Sentences on what was corrected since the run in use, and what that does to its forecast.

    Args:
        store: The lake.
        champion: The run in use; None before the first.
        manifest: What the new model was trained on.
        trained: The new model and its forecast.
    """
    earlier = load_manifest(store, champion.customer_id, champion.manifest) if champion else None
    if champion is None or earlier is None:
        return ()
    days = sealed_again(earlier, manifest, champion.origin)
    if not days:
        return ()
    named = ("… " if len(days) > NAMED_MAX else "") + ", ".join(f"{day}" for day in days[-NAMED_MAX:])
    several = "days were" if len(days) > 1 else "day was"
    first = f"{len(days)} {several} sealed again since run {champion.run_id}: {named}"
    return (first, *changes(forecast_frame(store, champion), trained.rows))


def sealed_again(earlier: Manifest, later: Manifest, through: date) -> list[date]:
    """Days up to one whose sales are other in a later manifest than in an earlier one, in order."""
    before, after = (
        {item.day: item.sha256 for item in manifest.of("sales_daily") if item.day and item.day <= through}
        for manifest in (earlier, later)
    )
    return sorted(day for day in before.keys() | after.keys() if before.get(day) != after.get(day))


def changes(before: pl.DataFrame, after: pl.DataFrame) -> Sequence[str]:
    """How one forecast differs from another on the series and days that both have; nothing when they share none.

    Args:
        before: location_id, product_id, date, mean.
        after: The same columns.
    """
    both = before.select(*KEYS, pl.col("mean").cast(pl.Float64)).join(
        after.select(*KEYS, pl.col("mean").cast(pl.Float64)), on=KEYS, suffix="_after"
    )
    total = float(both["mean"].sum())
    if both.is_empty() or not total:
        return ()
    series = (
        both.group_by("location_id", "product_id")
        .agg(change=(pl.col("mean_after") - pl.col("mean")).sum())
        .sort(pl.col("change").abs(), "location_id", "product_id", descending=[True, False, False])
    )
    most = ", ".join(
        f"{row['product_id']} at {row['location_id']} by {row['change']:+.1f}"
        for row in series.head(NAMED_MAX).iter_rows(named=True)
    )
    share = float(both["mean_after"].sum()) / total - 1
    n_days = both["date"].n_unique()
    return (f"on the {n_days} days that both forecast the sum changed by {share:+.1%}; most: {most} units",)
