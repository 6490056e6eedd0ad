"""On which local day, and at what time on the local clock, something was sold.

Pure. Guarantee: both come from the location's own time zone; there is no fall-back to another one.
"""

from collections.abc import Callable
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

_DAY_US = 86_400_000_000
_GAPS_US = (0, 3_600_000_000, _DAY_US)
"""A local time that clocks skip is taken as the first of these later that they do not."""
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


def clock_times(moments: pl.Series, zones: pl.Series) -> pl.Series:
    """What a clock on the spot shows at each moment.

    Args:
        moments: `Datetime("us", "UTC")` without nulls, shape `(n_rows,)`.
        zones: IANA time zone of each without nulls, strings, shape `(n_rows,)`.

    Returns:
        Microseconds on the local clock, counted from its 1970, shape `(n_rows,)`.
    """
    return _by_zone(moments.to_physical(), zones, _clock_of)


def moments_of(clock: pl.Series, zones: pl.Series) -> pl.Series:
    """The moment at which a clock on the spot shows a time: the first of two, and the next where there is none.

    Args:
        clock: Microseconds on the local clock without nulls, shape `(n_rows,)`.
        zones: IANA time zone of each without nulls, strings, shape `(n_rows,)`.

    Returns:
        `Datetime("us", "UTC")`, shape `(n_rows,)`.
    """
    return _by_zone(clock, zones, _moments_in).cast(_EPOCH_US.dtype)


def _by_zone(
    values: pl.Series, zones: pl.Series, convert: Callable[[pl.Series, str], pl.Series]
) -> pl.Series:
    """Microseconds converted zone by zone; UTC stays as it is."""
    names = zones.unique().to_list()
    if len(names) == 1:
        return values if names[0] == "UTC" else convert(values, names[0])
    found = values.to_numpy().copy()
    for name in names:
        if name != "UTC":
            rows = (zones == name).to_numpy().nonzero()[0]
            found[rows] = convert(pl.Series(found[rows]), name).to_numpy()
    return pl.Series(found)


def _clock_of(moments: pl.Series, name: str) -> pl.Series:
    return moments.cast(_EPOCH_US.dtype).dt.convert_time_zone(name).dt.replace_time_zone(None).to_physical()


def _moments_in(clock: pl.Series, name: str) -> pl.Series:
    shown = pl.col("clock").cast(pl.Datetime("us"))
    tries = [
        (shown + pl.duration(microseconds=gap_us)).dt.replace_time_zone(
            name, ambiguous="earliest", non_existent="null"
        )
        for gap_us in _GAPS_US
    ]
    return clock.alias("clock").to_frame().select(moment=pl.coalesce(tries))["moment"].to_physical()
