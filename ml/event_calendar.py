"""What is known of each day before it comes: events by type, how far away they are, and their names.

Guarantee: nothing here depends on sales. Models see an event's type and never its name, because a name occurs
once a year and a model learns that one year by heart; names only tell on which days a location was shut
before.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

DISTANCE_DAYS_MAX = 21
"""Events further away than this are not felt; the distance stays at this number."""
TYPES_MAX = 12
"""Event types that get a column of their own; rarer ones share the last."""
FREQUENT_SHARE = 1 / 6
"""A type that stands on more of the days than this (a benefit day, say) says nothing by its distance."""
NO_TYPE = -1


@dataclass(frozen=True, slots=True)
class EventCalendar:
    """Events by region and day.

    Attributes:
        regions: Names of the regions, in the order of the first axis below; "" is a location without one.
        types: Names of the event types, in the order of `flags`' last axis.
        flags: (n_regions, n_days, n_types) bool, true where an event of the type takes place.
        days_to_next: (n_regions, n_days) int16, days until the next rare event (0 on the day), bounded.
        days_since_last: (n_regions, n_days) int16, days since the last rare event (0 on the day), bounded.
        next_type: (n_regions, n_days) int16, index in `types` of that next event, -1 when none is near.
        last_type: (n_regions, n_days) int16, index in `types` of that last event, -1 when none is near.
        frequent: (n_types,) bool, true for a type that stands on so many days that its distance says nothing.
        names: Events with a name within the days, as columns region (index), day (index), name (index).
        n_names: Number of different names.
    """

    regions: tuple[str, ...]
    types: tuple[str, ...]
    flags: NDArray[np.bool_]
    days_to_next: NDArray[np.int16]
    days_since_last: NDArray[np.int16]
    next_type: NDArray[np.int16]
    last_type: NDArray[np.int16]
    frequent: NDArray[np.bool_]
    names: NDArray[np.int32]
    n_names: int

    def between(self, start: int, stop: int) -> "EventCalendar":
        """The days from index `start` to before `stop`; names keep their numbers."""
        region, day, name = self.names.T
        inside = (day >= start) & (day < stop)
        return replace(
            self,
            flags=self.flags[:, start:stop],
            days_to_next=self.days_to_next[:, start:stop],
            days_since_last=self.days_since_last[:, start:stop],
            next_type=self.next_type[:, start:stop],
            last_type=self.last_type[:, start:stop],
            names=np.stack([region, day - start, name], axis=1)[inside],
        )


def build_calendar(
    events: pl.DataFrame | None, regions: tuple[str, ...], days: NDArray[np.datetime64]
) -> EventCalendar:
    """Lay events out by region and day.

    Args:
        events: Columns date, name, type, region of the table of events; None or empty when there are none.
        regions: Regions of the locations; an event without a region applies to each of them.
        days: (n_days,) consecutive days.

    Returns:
        The calendar; events outside `days` count for the distances.
    """
    wide = _by_region(events, regions, days)
    types = _types(wide)
    known = wide.join(
        pl.DataFrame(
            {"type": types, "type_index": np.arange(len(types))}, schema_overrides={"type": pl.String}
        ),
        on="type",
        how="left",
    ).with_columns(pl.col("type_index").fill_null(len(types) - 1))
    pad, n_days = DISTANCE_DAYS_MAX, len(days)
    padded = np.zeros((len(regions), n_days + 2 * pad, len(types)), dtype=np.bool_)
    padded[
        known["region_index"].to_numpy(), known["day"].to_numpy() + pad, known["type_index"].to_numpy()
    ] = True
    # The rule is by day and region taken together, so that a type is rare everywhere or nowhere.
    frequent = padded.sum(axis=(0, 1)) > FREQUENT_SHARE * padded.shape[0] * padded.shape[1]
    since, last = _distance(padded & ~frequent)
    to_next, upcoming = _distance((padded & ~frequent)[:, ::-1])
    inside = slice(pad, pad + n_days)
    named = known.filter(pl.col("name").is_not_null() & pl.col("day").is_between(0, n_days - 1))
    codes = named["name"].rank("dense").cast(pl.Int32).to_numpy() - 1
    names = np.stack([named["region_index"].to_numpy(), named["day"].to_numpy(), codes], axis=1)
    return EventCalendar(
        regions=regions,
        types=types,
        flags=np.ascontiguousarray(padded[:, inside]),
        days_to_next=np.ascontiguousarray(to_next[:, ::-1][:, inside]),
        days_since_last=np.ascontiguousarray(since[:, inside]),
        next_type=np.ascontiguousarray(upcoming[:, ::-1][:, inside]),
        last_type=np.ascontiguousarray(last[:, inside]),
        frequent=frequent,
        names=names.astype(np.int32),
        n_names=int(codes.max()) + 1 if len(codes) else 0,
    )


def _by_region(
    events: pl.DataFrame | None, regions: tuple[str, ...], days: NDArray[np.datetime64]
) -> pl.DataFrame:
    """Events near the days, one row for each region that they apply to."""
    empty = pl.DataFrame(
        schema={"day": pl.Int64, "type": pl.String, "name": pl.String, "region_index": pl.Int64}
    )
    if events is None or events.is_empty() or not len(days):
        return empty
    index = pl.DataFrame({"region": list(regions), "region_index": np.arange(len(regions))})
    near = events.select(
        day=(pl.col("date") - pl.lit(days[0]).cast(pl.Date)).dt.total_days(),
        type=pl.col("type").fill_null("event"),
        name=pl.col("name"),
        region=pl.col("region"),
    ).filter(pl.col("day").is_between(-DISTANCE_DAYS_MAX, len(days) - 1 + DISTANCE_DAYS_MAX))
    everywhere = (
        near.filter(pl.col("region").is_null()).drop("region").join(index.drop("region"), how="cross")
    )
    somewhere = near.join(index, on="region", how="inner")
    return pl.concat([frame.select(empty.columns) for frame in (everywhere, somewhere)])


def _types(events: pl.DataFrame) -> tuple[str, ...]:
    """The most frequent types in the order of their names, and "other" when there are more."""
    counted = events.group_by("type").len().sort("len", "type", descending=[True, False])["type"].to_list()
    if len(counted) <= TYPES_MAX:
        return tuple(sorted(counted))
    return (*sorted(counted[: TYPES_MAX - 1]), "other")


def _distance(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Days since the last event along axis 1, and its type.

    Args:
        flags: (n_regions, n_days, n_types), of rare types only.

    Returns:
        Two (n_regions, n_days) arrays: days, at most `DISTANCE_DAYS_MAX`; type index or -1.
    """
    n_regions, n_days, n_types = flags.shape
    if not n_types:
        return np.full((n_regions, n_days), DISTANCE_DAYS_MAX, np.int16), np.full(
            (n_regions, n_days), NO_TYPE, np.int16
        )
    here = flags.any(axis=2)
    day = np.arange(n_days)
    last = np.maximum.accumulate(np.where(here, day, -1), axis=1)
    since = np.where(last >= 0, day - last, DISTANCE_DAYS_MAX + 1)
    kind = np.take_along_axis(flags.argmax(axis=2), np.maximum(last, 0), axis=1)
    near = since <= DISTANCE_DAYS_MAX
    return np.where(near, since, DISTANCE_DAYS_MAX).astype(np.int16), np.where(near, kind, NO_TYPE).astype(
        np.int16
    )
