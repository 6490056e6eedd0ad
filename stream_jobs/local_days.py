"""On which local day something was sold.

Pure. Guarantee: the day comes from the location's own time zone; there is no fall-back to another one.
"""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

_DAY_US = 86_400_000_000
_ZONES_KEPT = 2_000
_EPOCH_US = pl.Series([0], dtype=pl.Datetime("us", "UTC"))


@lru_cache(maxsize=_ZONES_KEPT)
def is_time_zone(name: str) -> bool:
    """Whether local days can be told in this IANA time zone, such as `Europe/Berlin`."""
    try:
        # Polars also takes bare offsets such as +01:00, which other readers of the lake do not.
        ZoneInfo(name)
        _EPOCH_US.dt.convert_time_zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError):
        return False
    return True


def local_days(moments: pl.Series, zones: pl.Series) -> pl.Series:
    """The local date of each moment.

    Args:
        moments: `Datetime("us", "UTC")`, shape `(n_rows,)`.
        zones: IANA time zone of each, strings, shape `(n_rows,)`.

    Returns:
        Dates, shape `(n_rows,)`; null where the moment or the zone is null.

    Raises:
        polars.exceptions.ComputeError: A zone is none; ask `is_time_zone` before.
    """
    microseconds = moments.to_physical().fill_null(0).to_numpy()
    days = np.floor_divide(microseconds, _DAY_US)
    names = zones.unique().drop_nulls().to_list()
    for name in names:
        if name == "UTC":
            continue
        rows = (
            slice(None) if len(names) == 1 else (zones == name).fill_null(value=False).to_numpy().nonzero()[0]
        )
        there = pl.Series(microseconds[rows]).cast(moments.dtype).dt.convert_time_zone(name)
        days[rows] = there.dt.date().to_physical().to_numpy()
    found = pl.Series(days.astype(np.int32)).cast(pl.Date)
    known = moments.is_not_null() & zones.is_not_null()
    if known.all():
        return found
    return pl.DataFrame([found.alias("day"), known.alias("known")]).select(
        pl.when("known").then("day").alias("day")
    )["day"]
