"""The features of a target day as of an origin; training, backtest and serving all call `feature_rows`.

Guarantee: a row's features depend on no sale after its origin. Sales enter as ratios to the level that the
    series
had at the origin, so that one model serves series of any size; what is known ahead (prices, promotions,
events, the date itself) is read at the target day.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml.levels import LookBack, expected_day
from ml.matrices import NEVER
from ml.panel import Panel

CATEGORIES_MAX = 60
"""Names that get a code of their own, the most frequent; the trees allow no more codes than bins."""
RATIO_MAX = 20.0
FloatArray = NDArray[np.float32]

SALES_FEATURES = (
    "level", "mean_3", "mean_7", "mean_14", "mean_28", "mean_56", "mean_112", "last_day", "same_weekday",
    "same_weekday_recent", "same_weekday_last", "nonzero_share_28", "nonzero_share_56", "variance_ratio",
    "days_since_sale", "silence", "group_trend_7", "group_trend_28", "location_trend", "product_trend_7",
    "product_trend_28", "product_against_group", "week_factor", "own_week_factor", "days_on_sale",
)  # fmt: skip
# The day of the year is left out: over one or two years it lets the trees learn single days by heart (over
# three origins and two stores of M5 the WRMSSE is .548 without it and .568 with it).
PLAN_FEATURES = (
    "price", "price_against_28", "price_against_112", "price_against_origin", "promotion", "promotion_share",
    "weeks_since_release", "weekday", "day_of_month", "days_to_event", "days_since_event",
    "days_ahead", "week_ahead",
)  # fmt: skip
CATEGORICAL_FEATURES = ("department", "category", "location", "next_event_type", "last_event_type")


@dataclass(frozen=True, slots=True)
class FeatureCoding:
    """Which number a name has, fixed when a model is fitted and kept with it; NaN for an unknown one.

    Attributes:
        departments: Names of departments.
        categories: Names of categories.
        locations: Ids of locations.
        event_types: Names of event types; each has a feature of its own too.
    """

    departments: tuple[str, ...]
    categories: tuple[str, ...]
    locations: tuple[str, ...]
    event_types: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns."""
        flags = tuple(f"event_{index}" for index in range(len(self.event_types)))
        return (*SALES_FEATURES, *PLAN_FEATURES, *flags, *CATEGORICAL_FEATURES)

    @property
    def categorical(self) -> NDArray[np.bool_]:
        """(n_features,) true where the feature is a code."""
        return np.isin(np.array(self.names), CATEGORICAL_FEATURES)


def coding_of(panel: Panel) -> FeatureCoding:
    """The coding of the names in a panel."""

    def most(column: str) -> tuple[str, ...]:
        counted = panel.series[column].drop_nulls().value_counts(sort=True)
        return tuple(
            sorted(counted.sort("count", column, descending=[True, False])[column].head(CATEGORIES_MAX))
        )

    return FeatureCoding(
        departments=most("department"),
        categories=most("category"),
        locations=most("location_id"),
        event_types=panel.calendar.types,
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """All that the rows of one origin share.

    Attributes:
        panel: The panel.
        back: The state of all series at the origin.
        expected: (n_series, 7) units expected without learning, by slot of the week.
        price_mean: Per window of 28 and 112 days (n_series,) mean price up to the origin; NaN without a
            price.
        promotion_share: (n_series,) share of the last 28 days on promotion.
        code: Per categorical feature of the series (n_series,) its code, NaN when unknown.
        event_index: (n_types + 1,) code of each event type of the panel; the last is of no event.
        coding: The coding.
    """

    panel: Panel
    back: LookBack
    expected: FloatArray
    price_mean: dict[int, FloatArray]
    promotion_share: FloatArray
    code: dict[str, FloatArray]
    event_index: FloatArray
    coding: FeatureCoding


def at_origin(panel: Panel, back: LookBack, coding: FeatureCoding) -> Origin:
    """Gather what all rows of an origin share."""
    origin = back.origin
    columns = {"department": coding.departments, "category": coding.categories, "location": coding.locations}
    fields = {"department": "department", "category": "category", "location": "location_id"}
    types = [
        float(coding.event_types.index(name)) if name in coding.event_types else np.nan
        for name in panel.calendar.types
    ]
    return Origin(
        panel=panel,
        back=back,
        expected=expected_day(panel, back),
        price_mean={w: _mean_price(panel.price[:, max(0, origin + 1 - w) : origin + 1]) for w in (28, 112)},
        promotion_share=panel.promotion[:, max(0, origin - 27) : origin + 1].mean(axis=1, dtype=np.float32),
        code={name: _code(panel, fields[name], known) for name, known in columns.items()},
        event_index=np.array([*types, np.nan], dtype=np.float32),
        coding=coding,
    )


def feature_rows(
    at: Origin, series: NDArray[np.int64], ahead: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Features of target days.

    Args:
        at: What the rows share.
        series: (n_rows,) index of the series.
        ahead: (n_rows,) days from the origin to the target day, from 1.

    Returns:
        (n_rows, n_features) float32 in the order of `at.coding.names`, and (n_rows,) units expected without
        learning, above 0: the model forecasts the quotient of sales and this.
    """
    names = at.coding.names
    rows = np.empty((len(series), len(names)), dtype=np.float32, order="F")
    expected = at.expected[series, (ahead - 1) % 7]
    columns = _sales_columns(at, series, (ahead - 1) % 7, expected) | _plan_columns(at, series, ahead)
    for index, name in enumerate(names):
        rows[:, index] = columns[name]
    return rows, expected


def _sales_columns(
    at: Origin, series: NDArray[np.int64], slot: NDArray[np.int64], expected: FloatArray
) -> dict[str, FloatArray]:
    """What the sales up to the origin say."""
    back, codes = at.back, at.panel.codes
    level = back.level[series]
    group, location, product = codes.group[series], codes.location[series], codes.product[series]
    week_factor = back.week_factor[group, slot]
    same_weekday = back.slot_mean[series, slot]
    share = back.nonzero_share[series]
    since = back.days_since_sale[series]
    columns = {f"mean_{window}": _against(mean[series], level) for window, mean in back.mean.items()}
    return columns | {
        "level": level,
        "last_day": _against(back.last_day[series], level),
        "same_weekday": _against(same_weekday, expected),
        "same_weekday_recent": _against(back.slot_recent[series, slot], expected),
        "same_weekday_last": _against(back.slot_last[series, slot], expected),
        "nonzero_share_28": share[:, 0],
        "nonzero_share_56": share[:, 1],
        "variance_ratio": back.variance_ratio[series],
        "days_since_sale": since,
        "silence": since * share[:, 1],
        "group_trend_7": _against(back.group_mean[7][group], back.group_mean[28][group]),
        "group_trend_28": _against(back.group_mean[28][group], back.group_mean[112][group]),
        "location_trend": _against(back.location_mean[7][location], back.location_mean[28][location]),
        "product_trend_7": _against(back.product_mean[7][product], back.product_mean[28][product]),
        "product_trend_28": _against(back.product_mean[28][product], back.product_mean[112][product]),
        "product_against_group": _against(back.product_mean[28][product], level),
        "week_factor": week_factor,
        "own_week_factor": _against(same_weekday, back.mean[56][series] * week_factor),
        "days_on_sale": back.days_on_sale[series],
    }


def _plan_columns(at: Origin, series: NDArray[np.int64], ahead: NDArray[np.int64]) -> dict[str, FloatArray]:
    """What is known ahead of the target day."""
    panel, back = at.panel, at.back
    day = back.origin + ahead
    price = panel.price[series, day]
    calendar, region = panel.calendar, panel.codes.region[series]
    dates = panel.days[day]
    months = dates.astype("datetime64[M]")
    start = back.start[series]
    columns: dict[str, FloatArray] = {
        "price": price,
        "price_against_28": price / at.price_mean[28][series],
        "price_against_112": price / at.price_mean[112][series],
        "price_against_origin": price / panel.price[series, back.origin],
        "promotion": panel.promotion[series, day].astype(np.float32),
        "promotion_share": at.promotion_share[series],
        "weeks_since_release": np.where(start < NEVER, (day - start) / 7, np.nan).astype(np.float32),
        # 1970-01-01 was a Thursday; Monday is 0.
        "weekday": ((dates.astype(np.int64) + 3) % 7).astype(np.float32),
        "day_of_month": (dates - months).astype(np.float32) + 1,
        "days_to_event": calendar.days_to_next[region, day].astype(np.float32),
        "days_since_event": calendar.days_since_last[region, day].astype(np.float32),
        "days_ahead": ahead.astype(np.float32),
        "week_ahead": ((ahead - 1) // 7).astype(np.float32),
        "next_event_type": at.event_index[calendar.next_type[region, day]],
        "last_event_type": at.event_index[calendar.last_type[region, day]],
    }
    for index, name in enumerate(at.coding.event_types):
        place = calendar.types.index(name) if name in calendar.types else None
        flag = np.zeros(len(series), np.float32) if place is None else calendar.flags[region, day, place]
        columns[f"event_{index}"] = np.asarray(flag, dtype=np.float32)
    return columns | {name: code[series] for name, code in at.code.items()}


def _against(upper: FloatArray, lower: FloatArray) -> FloatArray:
    """Quotient, bounded; NaN where the divisor is 0 or either is unknown."""
    result = np.full(upper.shape, np.nan, dtype=np.float32)
    np.divide(upper, lower, out=result, where=lower > 0)
    return np.minimum(result, np.float32(RATIO_MAX))


def _mean_price(price: FloatArray) -> FloatArray:
    known = ~np.isnan(price)
    result = np.full(len(price), np.nan, dtype=np.float32)
    np.divide(
        np.where(known, price, 0).sum(axis=1),
        known.sum(axis=1),
        out=result,
        where=known.any(axis=1),
        casting="unsafe",
    )
    return result


def _code(panel: Panel, column: str, known: tuple[str, ...]) -> FloatArray:
    numbers = {name: float(index) for index, name in enumerate(known)}
    codes = panel.series[column].replace_strict(numbers, default=None, return_dtype=pl.Float32)
    return codes.to_numpy().astype(np.float32)
