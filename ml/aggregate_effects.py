"""Totals of location × department by effects on their logarithm: the week, the month, the year, events, a level.

Guarantee: reads no day after the origin; the same history gives the same forecast.

Effects of events and of the season are seen seldom at one place, so they are learned from all locations of a
department together; the week and benefit days differ by place and are learned there, drawn towards those of
the department. Both by ridge regression (Hoerl and Kennard, 1970), beside a slow trend of straight pieces.
The level is smoothed over sales ÷ effects, not over logarithms, which keeps the mean unbiased.
"""

import numpy as np
from numpy.typing import NDArray

from ml.event_calendar import EventCalendar
from ml.group_history import GroupHistory
from ml.metrics import summed

SHARED_KNOT_DAYS, OWN_KNOT_DAYS = 180, 45
SEASON_DAYS_MIN = 730
"""Days of history from which on a yearly season is told from a trend."""
OWN_DAYS_MAX = 730
OWN_HALF_LIFE_DAYS = 300.0
"""A group's own effects change: a day this old counts half."""
NEAR_DAYS = (-3, -2, -1, 0, 1)
"""Days from an event on which it is felt."""
NAME_TIMES_MIN = 2
"""Times that an event of a name must have been seen; a name seen once is a day learned by heart."""
EVENT_SHARE, SEASON_SHARE = 0.75, 0.6
"""Shares of the learned effects that are expected again."""
SMOOTHING = 0.15
UNITS_MIN = 0.5
"""A day without any sale has no logarithm; this many units stand for it."""
RIDGE_WEEK, RIDGE_MONTH, RIDGE_EVENT, RIDGE_SEASON, RIDGE_OWN = 1.0, 5.0, 3.0, 2.0, 2.0
RIDGE_SHARED_KNOT, RIDGE_OWN_KNOT, RIDGE_INTERCEPT = 5.0, 30.0, 1e-6
GROUPS_AT_ONCE = 512

FloatArray = NDArray[np.float64]


def forecast_by_effects(history: GroupHistory) -> FloatArray:
    """Forecast the days after the origin.

    Returns:
        (n_groups, horizon) units; 0 where the location is expected not to open.
    """
    week, events = _week(history.days), _events(history.calendar, history.n_known)
    frequent = _frequent_types(history.calendar)
    offset = np.zeros((len(history.units), len(history.days)))
    prior = np.zeros((len(history.units), week.shape[1] + frequent.shape[2]))
    for department in np.unique(history.department):
        members = np.flatnonzero(history.department == department)
        shared_offset, shared = _shared(history, members, week, events, frequent)
        offset[members] = shared_offset[history.region[members]]
        prior[members] = shared
    forecast = np.empty((len(history.units), history.horizon_days))
    for start in range(0, len(forecast), GROUPS_AT_ONCE):
        chosen = np.arange(start, min(start + GROUPS_AT_ONCE, len(forecast)))
        forecast[chosen] = _own(history, chosen, week, frequent, offset[chosen], prior[chosen])
    return np.where(history.shut_ahead, 0, forecast)


def _shared(
    history: GroupHistory,
    members: NDArray[np.int64],
    week: FloatArray,
    events: FloatArray,
    frequent: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Effects of a department over all its locations, learned from its total in each region.

    Returns:
        (n_regions, n_days) effect of events and the season on the logarithm, and (n_week + n_frequent,)
        effects of the weekday and of frequent types.
    """
    n_known, n_days = history.n_known, len(history.days)
    regions, code = np.unique(history.region[members], return_inverse=True)
    units = summed(np.where(history.counts[members], history.units[members], 0), code)
    counts = summed(history.counts[members].astype(np.float64), code) > 0
    month, season, knots = (
        _month(history.days),
        _season(history.days, n_known),
        _knots(n_known, SHARED_KNOT_DAYS),
    )
    dated = np.concatenate([week, month, season], axis=1)
    n_common = dated.shape[1] + events.shape[2] + frequent.shape[2]
    n_own = knots.shape[1] + 1
    gram = np.diag(
        np.concatenate(
            [
                np.repeat(
                    [RIDGE_WEEK, RIDGE_MONTH, RIDGE_SEASON], [week.shape[1], month.shape[1], season.shape[1]]
                ),
                np.full(events.shape[2], RIDGE_EVENT),
                np.full(frequent.shape[2], RIDGE_WEEK),
                np.tile([*[RIDGE_SHARED_KNOT] * knots.shape[1], RIDGE_INTERCEPT], len(regions)),
            ]
        )
    )
    moment = np.zeros(len(gram))
    own = np.concatenate([knots, np.ones((n_known, 1))], axis=1)
    for number, region in enumerate(regions):
        x = np.concatenate(
            [dated[:n_known], events[region, :n_known], frequent[region, :n_known], own], axis=1
        )
        place = np.concatenate([np.arange(n_common), n_common + number * n_own + np.arange(n_own)])
        weighted = x * counts[number][:, None]
        gram[np.ix_(place, place)] += weighted.T @ x
        moment[place] += weighted.T @ np.log(np.maximum(units[number], UNITS_MIN))
    beta = np.linalg.solve(gram, moment)
    n_week, n_month = week.shape[1], month.shape[1]
    of_season = slice(n_week + n_month, dated.shape[1])
    of_events = slice(dated.shape[1], dated.shape[1] + events.shape[2])
    offset = EVENT_SHARE * (events @ beta[of_events]) + SEASON_SHARE * (season @ beta[of_season])
    assert offset.shape[1] == n_days
    return offset, np.concatenate([beta[:n_week], beta[of_events.stop : n_common]])


def _own(
    history: GroupHistory,
    chosen: NDArray[np.int64],
    week: FloatArray,
    frequent: FloatArray,
    offset: FloatArray,
    prior: FloatArray,
) -> FloatArray:
    """Forecast some groups by their own week, month and level, around what they share with others."""
    n_known, region = history.n_known, history.region[chosen]
    first = max(0, n_known - OWN_DAYS_MAX)
    knots, part = _knots(n_known - first, OWN_KNOT_DAYS), _month_parts(history.days)
    n_effects = week.shape[1] + frequent.shape[2] + part.shape[1]
    ridge = np.concatenate(
        [np.full(n_effects, RIDGE_OWN), np.full(knots.shape[1], RIDGE_OWN_KNOT), [RIDGE_INTERCEPT]]
    )
    prior = np.concatenate([prior, np.zeros((len(chosen), part.shape[1]))], axis=1)
    decay = 0.5 ** (np.arange(n_known - first)[::-1] / OWN_HALF_LIFE_DAYS)
    sold, counts = history.units[chosen, first:], history.counts[chosen, first:]
    forecast = np.empty((len(chosen), history.horizon_days))
    for number in np.unique(region):
        members = np.flatnonzero(region == number)
        effects = np.concatenate([week, frequent[number], part], axis=1)[first:]
        expected = prior[members] @ effects.T + offset[members, first:]
        x = np.concatenate([effects[: n_known - first], knots, np.ones((n_known - first, 1))], axis=1)
        y = np.log(np.maximum(sold[members], UNITS_MIN)) - expected[:, : n_known - first]
        weight = counts[members] * decay
        gram = np.einsum("ti,gt,tj->gij", x, weight, x, optimize=True) + np.diag(ridge)
        moment = np.einsum("ti,gt->gi", x, weight * y)
        beta = np.linalg.solve(gram, moment[:, :, None])[:, :n_effects, 0]
        effect = np.exp(expected + beta @ effects.T)
        level = _level(sold[members] / effect[:, : n_known - first], counts[members].astype(np.float64))
        forecast[members] = effect[:, n_known - first :] * level[:, None]
    return forecast


def _week(days: NDArray[np.datetime64]) -> FloatArray:
    # 1970-01-01 was a Thursday; Monday is 0.
    return np.eye(7)[(days.astype("datetime64[D]").astype(np.int64) + 3) % 7]


def _month(days: NDArray[np.datetime64]) -> FloatArray:
    return np.eye(31)[_day_of_month(days)]


def _month_parts(days: NDArray[np.datetime64]) -> FloatArray:
    return np.eye(6)[np.minimum(_day_of_month(days) // 5, 5)]


def _day_of_month(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    dates = days.astype("datetime64[D]")
    number: NDArray[np.int64] = (dates - dates.astype("datetime64[M]")).astype(np.int64)
    return number


def _season(days: NDArray[np.datetime64], n_known: int) -> FloatArray:
    """Three waves a year; none when the history is too short to tell a season from a trend."""
    if n_known < SEASON_DAYS_MIN:
        return np.zeros((len(days), 0))
    angle = 2 * np.pi * (days - days.astype("datetime64[Y]")).astype(np.float64) / 365.25
    return np.stack([wave(k * angle) for k in (1, 2, 3) for wave in (np.sin, np.cos)], axis=1)


def _frequent_types(calendar: EventCalendar) -> FloatArray:
    """(n_regions, n_days, n_frequent) types that stand on many days, such as a benefit day."""
    return calendar.flags[:, :, calendar.frequent].astype(np.float64)


def _events(calendar: EventCalendar, n_known: int) -> FloatArray:
    """Rare types, the days around any of them, and the names seen often enough, with the days around each.

    Returns:
        (n_regions, n_days, n_columns).
    """
    flags = calendar.flags[:, :, ~calendar.frequent]
    near = [calendar.days_to_next == number for number in range(1, 4)] + [calendar.days_since_last == 1]
    columns = [flags, np.stack(near, axis=2)]
    region, day, name = calendar.names.T
    seen = np.zeros((calendar.n_names, flags.shape[1]), dtype=np.bool_)
    seen[name, day] = True
    repeated = np.flatnonzero(seen[:, :n_known].sum(axis=1) >= NAME_TIMES_MIN)
    for offset in NEAR_DAYS:
        at = day + offset
        inside = (at >= 0) & (at < flags.shape[1])
        named = np.zeros((*flags.shape[:2], calendar.n_names), dtype=np.bool_)
        named[region[inside], at[inside], name[inside]] = True
        columns.append(named[:, :, repeated])
    return np.concatenate(columns, axis=2).astype(np.float64)


def _knots(n_days: int, every_days: int) -> FloatArray:
    """Piecewise linear functions for a slow trend, one every so many days before the end."""
    at = np.arange(n_days - 1 - every_days, every_days // 2, -every_days)
    trend: FloatArray = np.maximum(np.arange(n_days)[:, None] - at, 0) / every_days
    return trend


def _level(clean: FloatArray, weight: FloatArray) -> FloatArray:
    """Simple exponential smoothing to the last day; days without weight are passed over.

    Returns:
        (n_groups,); 0 for a group without any weight.
    """
    decay = SMOOTHING * (1 - SMOOTHING) ** np.cumsum(weight[:, ::-1], axis=1)[:, ::-1] * weight
    total = decay.sum(axis=1)
    level: FloatArray = np.divide(
        (clean * decay).sum(axis=1), total, out=np.zeros(len(total)), where=total > 0
    )
    return level
