"""Totals of location × department by boosted trees on the quotient of a day and the recent mean of its weekday.

Guarantee: the features of an origin read no day after it; training and forecasting share `_feature_rows`.

Beside the groups the trees learn from their sums (departments by region and over all, locations, regions,
the whole), where a season, an event and a benefit day stand out from chance. What the same days did a year
and two years before, against the four weeks before those, is how they see the season.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.features import FeatureCoding
from ml.group_history import GroupHistory
from ml.learners import Boosting, HistTrees, Learner, LightTrees, Trees, grow
from ml.metrics import summed

LOOK_BACK_DAYS = 112
HISTORY_DAYS_MIN = 364
"""Days known, below which the trees would learn single days by heart."""
ORIGIN_STEP_DAYS = 5
"""Days between training origins; no multiple of a week, so that each weekday comes at each distance."""
ORIGINS_MAX = 400
ROWS_MAX = 200_000
ROWS_MIN = 2_000
MEAN_MIN = 5.0
"""Units a day of the last four weeks, below which a total says nothing."""
SEASON_DAYS_MIN = 1_095
"""Days known from which on the day of the year is told; over fewer years a tree learns single days by heart."""
HALF_LIFE_DAYS = 1_500.0
"""A day this old counts half."""
RATIO_MAX = 5.0
RECENT_DAYS = (3, 7, 14, 56, 112, 364)
YEAR_DAYS = 364
"""A year that begins on the same weekday."""
PLAIN_FEATURES = (
    *(f"mean_{days}" for days in RECENT_DAYS),
    "year_ago_month", "year_ago_week", "two_years_ago_week", "year_ago_day", "last_week", "last_four_weeks",
    "week_factor", "level", "day_of_month", "day_of_year", "weekday", "days_ahead", "days_to_event", "days_since_event",
)  # fmt: skip
CODES = ("next_event_type", "last_event_type", "department", "location", "kind")

FloatArray = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Totals:
    """Groups and their sums, rows of one table.

    Attributes:
        history: The groups.
        units: (n_rows, n_known) units, a day that does not count replaced by the one a week before.
        counts: (n_rows, n_known) bool.
        cumulated: (n_rows, n_known + 1) units of all days before each.
        flags: (n_rows, n_days, n_types) share of the row's groups whose region has an event of the type.
        region: (n_rows,) the region whose events are near.
        department: (n_rows,) code, NaN for sums over several.
        location: (n_rows,) code, NaN for sums over several.
        kind: (n_rows,) which sort of sum; 0 is a group.
        event_index: (n_types + 1,) code of each event type; the last is of no event.
    """

    history: GroupHistory
    units: FloatArray
    counts: NDArray[np.bool_]
    cumulated: FloatArray
    flags: Rows
    region: NDArray[np.int64]
    department: Rows
    location: Rows
    kind: Rows
    event_index: Rows

    def mean(self, start: NDArray[np.int64] | int, stop: NDArray[np.int64] | int) -> FloatArray:
        """Units a day from `start` to before `stop`."""
        mean: FloatArray = (self.cumulated[:, stop] - self.cumulated[:, start]) / (stop - start)
        return mean


def feature_names(coding: FeatureCoding) -> tuple[str, ...]:
    """Names of the features, in the order of the columns."""
    return (*PLAIN_FEATURES, *(f"event_{index}" for index in range(len(coding.event_types))), *CODES)


def grow_on_totals(
    history: GroupHistory, coding: FeatureCoding, learner: Learner, seed: int, threads: int | None
) -> HistTrees | LightTrees | None:
    """Learn from the days up to the origin.

    Args:
        history: The totals.
        coding: Numbers of the names.
        learner: Which library grows the trees.
        seed: Of the sample and the trees.
        threads: Threads used at most; None means one for each core.

    Returns:
        The trees; None when there is too little to learn from.
    """
    if history.n_known < HISTORY_DAYS_MIN:
        return None
    totals = _with_sums(history, coding)
    random = np.random.default_rng(seed)
    horizon_days, n_known = history.horizon_days, history.n_known
    origins = np.arange(n_known - 2, LOOK_BACK_DAYS - 1, -ORIGIN_STEP_DAYS)[:ORIGINS_MAX]
    share = min(1.0, ROWS_MAX / (len(origins) * len(totals.units) * horizon_days))
    parts = []
    for origin in origins:
        ahead = np.arange(1, min(horizon_days, n_known - 1 - origin) + 1)
        features, expected = _feature_rows(totals, int(origin), ahead, coding)
        units, known = totals.units[:, origin + ahead], totals.counts[:, origin + ahead]
        chosen = known & (expected >= MEAN_MIN) & (random.random(known.shape) < share)
        weight = np.sqrt(expected[chosen]) * 0.5 ** ((n_known - 1 - origin) / HALF_LIFE_DAYS)
        parts.append((features[chosen], units[chosen] / expected[chosen], weight))
    features, target, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(target) < ROWS_MIN or not target.any():
        return None
    categorical = np.isin(np.array(feature_names(coding)), CODES)
    boosting = Boosting(learner, trees=250, learning_rate=0.05, leaf_rows_min=100, l2=5.0, features_share=0.6)
    return grow(boosting, features, target, categorical, seed, threads, weight / weight.mean())


def forecast_by_trees(
    trees: Trees, history: GroupHistory, coding: FeatureCoding, threads: int | None
) -> FloatArray:
    """Forecast the days after the origin.

    Returns:
        (n_groups, horizon) units; 0 where the location is expected not to open, NaN for a group too small.
    """
    totals = _with_sums(history, coding)
    ahead = np.arange(1, history.horizon_days + 1)
    features, expected = _feature_rows(totals, history.n_known - 1, ahead, coding)
    n_groups = len(history.units)
    ratio = trees.predict(features[:n_groups].reshape(-1, features.shape[2]), threads)
    forecast = np.minimum(ratio, RATIO_MAX).reshape(n_groups, -1) * expected[:n_groups]
    forecast[expected[:n_groups] < MEAN_MIN] = np.nan
    return np.where(history.shut_ahead, 0, forecast)


def _with_sums(history: GroupHistory, coding: FeatureCoding) -> _Totals:
    n_groups, n_regions = len(history.units), len(history.calendar.regions)
    filled = history.units.copy()
    for day in np.flatnonzero(~history.counts.all(axis=0)):
        if day >= 7:
            filled[:, day] = np.where(history.counts[:, day], filled[:, day], filled[:, day - 7])
    own = {
        "department": _codes(history.department_names, coding.departments)[history.department],
        "location": _codes(history.location_names, coding.locations)[history.location],
    }
    everything = np.zeros(n_groups, dtype=np.int64)
    sorts = [  # Codes of the members, and whether the sum has one department and one location.
        (np.arange(n_groups), True, True),
        (history.department * n_regions + history.region, True, False),
        (history.department, True, False),
        (history.location, False, True),
        (history.region, False, False),
        (everything, False, False),
    ]
    units, counts, shares, kinds = [], [], [], []
    names: dict[str, list[Rows]] = {"department": [], "location": []}
    sizes: set[int] = set()
    for kind, (code, *is_one) in enumerate(sorts):
        _, first, member = np.unique(code, return_index=True, return_inverse=True)
        if len(first) in sizes:
            continue  # The same sums again: one region, or one department.
        sizes.add(len(first))
        units.append(summed(filled, member))
        counts.append(summed(history.counts.astype(np.float64), member) > 0)
        shares.append(np.eye(n_regions)[history.region])
        shares[-1] = summed(shares[-1], member) / np.bincount(member)[:, None]
        for (name, column), one in zip(own.items(), is_one, strict=True):
            names[name].append(column[first] if one else np.full(len(first), np.nan, np.float32))
        kinds.append(np.full(len(first), kind, np.float32))
    stacked, share = np.concatenate(units), np.concatenate(shares)
    types = history.calendar.types
    return _Totals(
        history=history,
        units=stacked,
        counts=np.concatenate(counts),
        cumulated=np.cumsum(np.pad(stacked, ((0, 0), (1, 0))), axis=1),
        flags=np.einsum("nr,rdt->ndt", share, history.calendar.flags).astype(np.float32),
        region=share.argmax(axis=1),
        department=np.concatenate(names["department"]),
        location=np.concatenate(names["location"]),
        kind=np.concatenate(kinds),
        event_index=np.append(_codes(types, coding.event_types), np.float32(np.nan)),
    )


def _feature_rows(
    totals: _Totals, origin: int, ahead: NDArray[np.int64], coding: FeatureCoding
) -> tuple[Rows, FloatArray]:
    """Features of target days as of an origin.

    Returns:
        (n_rows, n_ahead, n_features) in the order of `feature_names`, and (n_rows, n_ahead) units expected
        without learning.
    """
    known, day, slot = origin + 1, origin + ahead, (ahead - 1) % 7
    units, calendar = totals.units, totals.history.calendar
    month = totals.mean(max(0, known - 28), known)
    weeks = units[:, max(0, known - LOOK_BACK_DAYS) : known]
    weeks = weeks[:, weeks.shape[1] % 7 :].reshape(len(units), -1, 7)
    usual = weeks.mean(axis=1)
    factor = _over(usual, usual.mean(axis=1, keepdims=True))[:, slot]
    expected = np.nan_to_num(month[:, None] * factor)
    columns: dict[str, NDArray[np.floating]] = {
        f"mean_{days}": _over(totals.mean(known - days, known), month)[:, None]
        for days in RECENT_DAYS
        if known >= days
    }
    for years, name in ((1, "year_ago"), (2, "two_years_ago")):
        then = known - years * YEAR_DAYS
        if then < 28:
            continue
        before = totals.mean(then - 28, then)[:, None]
        target = day - years * YEAR_DAYS
        columns[f"{name}_week"] = _over(totals.mean(target - 3, target + 4), before)
        if years == 1:
            columns["year_ago_month"] = _over(totals.mean(then, then + 28)[:, None], before)
            columns["year_ago_day"] = _over(units[:, target], before * factor)
    dates = totals.history.days[day].astype("datetime64[D]")
    region, index = totals.region[:, None], totals.event_index
    columns |= {
        "last_week": _over(weeks[:, -1][:, slot], expected),
        "last_four_weeks": _over(weeks[:, -4:].mean(axis=1)[:, slot], expected),
        "week_factor": factor,
        "level": np.log(np.maximum(month, MEAN_MIN))[:, None],
        "day_of_month": (dates - dates.astype("datetime64[M]")).astype(np.float32) + 1,
        "weekday": ((dates.astype(np.int64) + 3) % 7).astype(np.float32),
        "days_ahead": ahead.astype(np.float32),
        "days_to_event": calendar.days_to_next[region, day].astype(np.float32),
        "days_since_event": calendar.days_since_last[region, day].astype(np.float32),
        "next_event_type": index[calendar.next_type[region, day]],
        "last_event_type": index[calendar.last_type[region, day]],
        "department": totals.department[:, None],
        "location": totals.location[:, None],
        "kind": totals.kind[:, None],
    }
    for number, name in enumerate(coding.event_types):
        if name in calendar.types:
            columns[f"event_{number}"] = totals.flags[:, day, calendar.types.index(name)]
    if totals.history.n_known >= SEASON_DAYS_MIN:
        columns["day_of_year"] = (dates - dates.astype("datetime64[Y]")).astype(np.float32)
    names = feature_names(coding)
    rows = np.full((len(units), len(ahead), len(names)), np.nan, dtype=np.float32)
    for number, name in enumerate(names):
        if name in columns:
            rows[:, :, number] = columns[name]
    return rows, expected


def _over(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Quotient, NaN where the divisor is 0."""
    shape = np.broadcast_shapes(upper.shape, lower.shape)
    result: FloatArray = np.divide(upper, lower, out=np.full(shape, np.nan), where=np.asarray(lower) > 0)
    return result


def _codes(names: tuple[str, ...], known: tuple[str, ...]) -> Rows:
    """The number of each name in a coding; NaN for an unknown one."""
    return np.array([known.index(name) if name in known else np.nan for name in names], dtype=np.float32)
