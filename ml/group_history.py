"""The daily totals of each location's departments, as far back as sales go.

Guarantee: nothing here depends on a day after the origin. Totals are small, so their history may be many
years long where that of the single series is bounded; that is where a season and a yearly event are seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.event_calendar import EventCalendar
from ml.matrices import shut_days
from ml.metrics import summed
from ml.panel import Panel, shut_ahead

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupHistory:
    """Totals by group (a location's department) and day.

    Attributes:
        days: (n_days,) consecutive days, from the first known one to the end of the horizon.
        units: (n_groups, n_known) units sold on the days up to the origin.
        counts: (n_groups, n_known) bool; false before the group's first sale and on days on which its
            location did not open.
        shut_ahead: (n_groups, horizon) bool, true on days on which the location is expected not to open.
        location: (n_groups,) index of the location.
        region: (n_groups,) index of the location's region.
        department: (n_groups,) index of the department.
        location_names: Ids of the locations.
        department_names: Names of the departments; "" for none.
        calendar: Events by region, over `days`.
    """

    days: NDArray[np.datetime64]
    units: FloatArray
    counts: NDArray[np.bool_]
    shut_ahead: NDArray[np.bool_]
    location: NDArray[np.int64]
    region: NDArray[np.int64]
    department: NDArray[np.int64]
    location_names: tuple[str, ...]
    department_names: tuple[str, ...]
    calendar: EventCalendar

    @property
    def n_known(self) -> int:
        """Days up to the origin."""
        return int(self.units.shape[1])

    @property
    def horizon_days(self) -> int:
        """Days after the origin."""
        return len(self.days) - self.n_known


def group_history(panel: Panel, origin: int, horizon_days: int, days_max: int) -> GroupHistory:
    """The totals of a panel's groups as of an origin.

    Args:
        panel: The panel.
        origin: Day index of the last day that may be used.
        horizon_days: Days to look ahead.
        days_max: Days up to the origin that are kept at most.
    """
    codes, earlier = panel.codes, panel.earlier
    known = summed(panel.quantity[:, : origin + 1], codes.group.astype(np.int64))
    units = np.concatenate([earlier.units, known], axis=1)
    kept = slice(max(0, units.shape[1] - days_max), units.shape[1] + horizon_days)
    units = units[:, kept]
    n_known = units.shape[1]
    days = np.concatenate([earlier.days, panel.days])[kept]
    # Any series of a group tells where the group belongs.
    of_group = np.zeros(codes.n_groups, dtype=np.int64)
    of_group[codes.group] = np.arange(panel.n_series)
    location = codes.location[of_group]
    shut = shut_days(units, location, len(codes.locations), n_known - 1)[location]
    return GroupHistory(
        days=days,
        units=units,
        counts=np.logical_or.accumulate(units > 0, axis=1) & ~shut,
        shut_ahead=shut_ahead(panel, origin, horizon_days)[location],
        location=location.astype(np.int64),
        region=codes.region[of_group].astype(np.int64),
        department=codes.department[of_group].astype(np.int64),
        location_names=codes.locations,
        department_names=codes.departments,
        calendar=earlier.calendar.between(kept.start, kept.stop),
    )
