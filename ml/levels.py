"""What a series looked like on one day: its level, its week, its recent means, as of an origin.

Guarantee: `look_back` reads no cell of `quantity` and `on_sale` after the origin, so nothing that it says
    can come
from the future. Means are over days on sale only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.panel import Panel, start_as_of

WINDOWS = (3, 7, 14, 28, 56, 112)
"""Days of the recent means."""
LEVEL_WEIGHTS = {7: 0.15, 14: 0.20, 28: 0.35, 56: 0.30}
"""Weight of each recent mean in the level."""
SHRINK_DAYS = 6.0
"""Days of evidence that the mean of the same product elsewhere is worth."""
GROUP_SHRINK_DAYS = 3.0
"""Days of evidence that the mean of the location's department is worth, for a product not sold elsewhere."""
MEAN_MIN = 0.03
"""Least level, units a day, of a series on sale; keeps ratios finite."""
WEEKDAY_SHRINK = 30.0
"""Units sold that a flat week is worth against the observed weekdays of a location's department."""
LOOK_BACK_DAYS = max(WINDOWS)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LookBack:
    """The state of all series as of one origin.

    Slot j of a week stands for the days 1 + j, 8 + j, … after the origin, and 6 - j, 13 - j, … before it.

    Attributes:
        origin: Day index of the last day looked at.
        level: (n_series,) units a day, above 0, shrunk to what is known of the product and the department.
        mean: Per window of `WINDOWS` (n_series,) units a day on sale; NaN without a day on sale.
        days_on_sale: (n_series,) days on sale in the longest window.
        nonzero_share: (n_series, 2) share of days with a sale in 28 and 56 days.
        variance_ratio: (n_series,) variance of the last 56 days ÷ their mean.
        days_since_sale: (n_series,) days since the last sale, at most the longest window.
        last_day: (n_series,) units of the origin's day itself; NaN when not on sale.
        slot_mean: (n_series, 7) units on the weekdays of the last 8 weeks; NaN when none was on sale.
        slot_recent: (n_series, 7) the same of the last 4 weeks.
        slot_last: (n_series, 7) units on the same weekday of the last week.
        week_factor: (n_groups, 7) sales of a weekday ÷ mean day, of each location's department; mean 1.
        group_mean: Per window (n_groups,) units a day of the group.
        location_mean: Per window (n_locations,) units a day of the location.
        product_mean: Per window (n_products,) units a day on sale, over all locations.
        start: (n_series,) first day on sale as far as known; `panel.NEVER` when unknown.
    """

    origin: int
    level: FloatArray
    mean: dict[int, FloatArray]
    days_on_sale: FloatArray
    nonzero_share: FloatArray
    variance_ratio: FloatArray
    days_since_sale: FloatArray
    last_day: FloatArray
    slot_mean: FloatArray
    slot_recent: FloatArray
    slot_last: FloatArray
    week_factor: FloatArray
    group_mean: dict[int, FloatArray]
    location_mean: dict[int, FloatArray]
    product_mean: dict[int, FloatArray]
    start: NDArray[np.int32]


def look_back(panel: Panel, origin: int) -> LookBack:
    """Look at all series as of an origin.

    Args:
        panel: The panel; its own origin may be later.
        origin: Day index of the last day to look at.
    """
    first = max(0, origin + 1 - LOOK_BACK_DAYS)
    lacking = LOOK_BACK_DAYS - (origin + 1 - first)
    # Days before the panel are days not on sale, so that every window has its full width.
    on_sale = np.pad(panel.on_sale[:, first : origin + 1], ((0, 0), (lacking, 0)))
    sold = np.pad(np.nan_to_num(panel.quantity[:, first : origin + 1]), ((0, 0), (lacking, 0)))
    codes = panel.codes
    sums = {window: sold[:, -window:].sum(axis=1) for window in WINDOWS}
    counts = {window: on_sale[:, -window:].sum(axis=1, dtype=np.float32) for window in WINDOWS}
    mean = {window: _ratio(sums[window], counts[window]) for window in WINDOWS}
    product_mean = {
        window: _ratio(
            np.bincount(codes.product, sums[window], codes.n_products),
            np.bincount(codes.product, counts[window], codes.n_products),
        )
        for window in WINDOWS
    }
    is_sold = sold > 0
    since = np.where(is_sold.any(axis=1), is_sold[:, ::-1].argmax(axis=1), LOOK_BACK_DAYS)
    weeks = sold[:, -56:].reshape(-1, 8, 7), on_sale[:, -56:].reshape(-1, 8, 7)
    return LookBack(
        origin=origin,
        level=_level(panel, mean, sums[56], counts),
        mean=mean,
        days_on_sale=counts[LOOK_BACK_DAYS],
        nonzero_share=np.stack([_ratio(is_sold[:, -w:].sum(axis=1), counts[w]) for w in (28, 56)], axis=1),
        variance_ratio=_ratio(
            _ratio(np.square(sold[:, -56:]).sum(axis=1), counts[56]) - mean[56] ** 2, mean[56]
        ),
        days_since_sale=since.astype(np.float32),
        last_day=np.where(on_sale[:, -1], sold[:, -1], np.float32(np.nan)),
        slot_mean=_ratio(weeks[0].sum(axis=1), weeks[1].sum(axis=1)),
        slot_recent=_ratio(weeks[0][:, 4:].sum(axis=1), weeks[1][:, 4:].sum(axis=1)),
        slot_last=_ratio(weeks[0][:, -1], weeks[1][:, -1]),
        week_factor=_week_factor(sold, on_sale, codes.group, codes.n_groups),
        group_mean={
            w: (np.bincount(codes.group, sums[w], codes.n_groups) / w).astype(np.float32) for w in WINDOWS
        },
        location_mean={
            w: (np.bincount(codes.location, sums[w], len(codes.locations)) / w).astype(np.float32)
            for w in WINDOWS
        },
        product_mean=product_mean,
        start=start_as_of(panel, origin),
    )


def expected_day(panel: Panel, back: LookBack) -> FloatArray:
    """The level times the weekday factor of the location's department: the forecast without any learning.

    Returns:
        (n_series, 7) units, by slot of the week.
    """
    expected: FloatArray = back.level[:, None] * back.week_factor[panel.codes.group]
    return expected


def _ratio(upper: NDArray[np.generic], lower: NDArray[np.generic]) -> FloatArray:
    """Quotient, NaN where the divisor is 0 or unknown."""
    result = np.full(np.shape(upper), np.nan, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        np.divide(upper, lower, out=result, where=np.asarray(lower) > 0, casting="unsafe")
    return result


def _level(
    panel: Panel, mean: dict[int, FloatArray], sum_56: FloatArray, counts: dict[int, FloatArray]
) -> FloatArray:
    """Weighted recent means, shrunk the more the fewer days the series was on sale.

    A series is drawn to its product's mean over all locations, scaled to its location's department; a product
    that nobody sold yet starts from the mean of its location's department, then of all series.
    """
    codes = panel.codes
    total = np.zeros(panel.n_series, dtype=np.float64)
    weight = np.zeros_like(total)
    for window, share in LEVEL_WEIGHTS.items():
        seen = counts[window] > 0
        total += np.where(seen, share * np.nan_to_num(mean[window]), 0)
        weight += np.where(seen, share, 0)
    own = total / np.maximum(weight, 1e-9)
    days = counts[56].astype(np.float64)

    overall = sum_56.sum(dtype=np.float64) / max(days.sum(), 1.0)
    group_days = np.bincount(codes.group, days, codes.n_groups)
    group_mean = (np.bincount(codes.group, sum_56, codes.n_groups) + 28.0 * overall) / (group_days + 28.0)
    # A product's expected sales if it sold as its departments do, where it is on sale.
    usual = np.bincount(codes.product, days * group_mean[codes.group], codes.n_products)
    product_sold = np.bincount(codes.product, sum_56, codes.n_products)
    size = (product_sold + GROUP_SHRINK_DAYS * overall) / np.maximum(
        usual + GROUP_SHRINK_DAYS * overall, 1e-9
    )
    prior = group_mean[codes.group] * size[codes.product]
    level = (days * own + SHRINK_DAYS * prior) / (days + SHRINK_DAYS)
    floored: FloatArray = np.maximum(level, MEAN_MIN).astype(np.float32)
    return floored


def _week_factor(
    sold: FloatArray, on_sale: NDArray[np.bool_], group: NDArray[np.int32], n_groups: int
) -> FloatArray:
    """Sales of each weekday ÷ sales of a mean day, by group, over the longest window.

    Returns:
        (n_groups, 7), mean 1 in each group.
    """
    n_series, n_days = sold.shape
    slots = sold.reshape(n_series, n_days // 7, 7).sum(axis=1)
    days = on_sale.reshape(n_series, n_days // 7, 7).sum(axis=1)
    total = np.stack([np.bincount(group, slots[:, slot], n_groups) for slot in range(7)], axis=1)
    seen = np.stack([np.bincount(group, days[:, slot], n_groups) for slot in range(7)], axis=1)
    # Each weekday is drawn to the mean day, so that a group with few sales has a flat week.
    usual = seen * (total.sum(axis=1) / np.maximum(seen.sum(axis=1), 1))[:, None]
    factor = (total + WEEKDAY_SHRINK / 7) / (usual + WEEKDAY_SHRINK / 7)
    scaled: FloatArray = (factor / factor.mean(axis=1, keepdims=True)).astype(np.float32)
    return scaled
