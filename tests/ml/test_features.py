"""Features and levels: nothing after the origin, and the values that their names promise."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ml.features import FeatureCoding, at_origin, coding_of, feature_rows
from ml.levels import LEVEL_WEIGHTS, MEAN_MIN, WINDOWS, FloatArray, look_back
from ml.matrices import NEVER
from ml.panel import Panel
from tests.ml.conftest import FIRST_DAY, Retailer, make_retailer

ORIGIN = 200


def rows_at(panel: Panel, origin: int, coding: FeatureCoding) -> tuple[FloatArray, FloatArray]:
    series, ahead = np.divmod(np.arange(panel.n_series * 28), 28)
    return feature_rows(at_origin(panel, look_back(panel, origin), coding), series, ahead + 1)


def test_features_are_the_same_to_the_byte_whatever_is_sold_after_the_origin(retailer: Retailer) -> None:
    cut = FIRST_DAY + timedelta(days=ORIGIN)
    random = np.random.default_rng(5)
    later = pl.col("sold_on") > cut
    changed = retailer.daily.filter(
        ~later | pl.Series(random.random(retailer.daily.height) < 0.7)
    ).with_columns(quantity=pl.when(later).then(pl.lit(900.0)).otherwise("quantity"))
    before, after = retailer.panel(), retailer.with_sales(changed).panel()
    assert before.series.equals(after.series)
    assert not np.array_equal(before.quantity, after.quantity, equal_nan=True)
    coding = coding_of(before)
    for found, other in zip(rows_at(before, ORIGIN, coding), rows_at(after, ORIGIN, coding), strict=True):
        assert found.tobytes() == other.tobytes()


def test_features_at_the_origin_of_serving_are_those_of_the_backtest(retailer: Retailer) -> None:
    late = retailer.panel()
    early = retailer.panel(origin=FIRST_DAY + timedelta(days=ORIGIN))
    coding = coding_of(late)
    for found, other in zip(rows_at(early, ORIGIN, coding), rows_at(late, ORIGIN, coding), strict=True):
        assert found.tobytes() == other.tobytes()


def test_windows_are_means_over_days_on_sale(panel: Panel) -> None:
    back = look_back(panel, ORIGIN)
    for window in WINDOWS:
        for series in range(panel.n_series):
            values = panel.quantity[series, ORIGIN + 1 - window : ORIGIN + 1]
            assert back.mean[window][series] == pytest.approx(float(np.nanmean(values)), rel=1e-5)


def test_slots_of_the_week_are_the_weekdays_of_the_days_ahead(panel: Panel) -> None:
    back = look_back(panel, ORIGIN)
    for slot in range(7):
        days = [ORIGIN + 1 + slot - 7 * week for week in range(1, 9)]
        np.testing.assert_allclose(
            back.slot_mean[:, slot], np.nanmean(panel.quantity[:, days], axis=1), rtol=1e-5
        )
        np.testing.assert_array_equal(back.slot_last[:, slot], panel.quantity[:, days[0]])


def test_week_factors_find_the_week_that_was_put_in() -> None:
    panel = make_retailer(4, 12, 200, rate=6.0, plans=False).panel()
    factor = look_back(panel, panel.origin).week_factor.mean(axis=0)
    truth = np.array([0.8, 0.7, 0.8, 0.9, 1.2, 1.5, 1.1])
    expected = truth[(panel.origin + 1 + np.arange(7)) % 7] / truth.mean()
    np.testing.assert_allclose(factor, expected, atol=0.08)


def test_a_level_with_much_history_is_its_own_and_one_without_is_that_of_its_product() -> None:
    retailer = make_retailer(8, 6, 150, rate=4.0, plans=False)
    fresh = retailer.daily.filter(
        (pl.col("location_id") != "l0")
        | (pl.col("product_id") != "p1")
        | (pl.col("sold_on") == retailer.last_day)
    )
    fresh = pl.concat(
        [
            fresh.filter((pl.col("location_id") != "l0") | (pl.col("product_id") != "p1")),
            pl.DataFrame(
                {
                    "location_id": ["l0"],
                    "product_id": ["p1"],
                    "sold_on": [retailer.last_day],
                    "quantity": [1.0],
                    "revenue": [1.0],
                }
            ),
        ]
    )
    panel = retailer.with_sales(fresh).panel()
    back = look_back(panel, panel.origin)
    own = np.sum([share * back.mean[window] for window, share in LEVEL_WEIGHTS.items()], axis=0)
    new = panel.series["location_id"].eq("l0").to_numpy() & panel.series["product_id"].eq("p1").to_numpy()
    old = ~new & (back.mean[56] > 0.5)
    np.testing.assert_allclose(back.level[old], own[old], rtol=0.25)
    # Sold as its department does in that location, times how the product sells elsewhere.
    peers = panel.series["product_id"].eq("p1").to_numpy() & ~new
    assert 0.2 * own[peers].min() < back.level[new][0] < 3 * own[peers].max()
    assert back.days_on_sale[new].tolist() == [1]


def test_levels_are_above_zero_even_when_nothing_was_sold() -> None:
    panel = make_retailer(2, 2, 60).panel()
    empty = replace(panel, quantity=np.zeros_like(panel.quantity))
    assert (look_back(empty, panel.origin).level >= np.float32(MEAN_MIN)).all()


def test_price_features_compare_with_the_own_past(panel: Panel) -> None:
    coding = coding_of(panel)
    features, _ = rows_at(panel, ORIGIN, coding)
    column = features[:, coding.names.index("price_against_28")].reshape(-1, 28)
    for series in (0, 17, 59):
        past = panel.price[series, ORIGIN - 27 : ORIGIN + 1].mean()
        np.testing.assert_allclose(
            column[series], panel.price[series, ORIGIN + 1 : ORIGIN + 29] / past, rtol=1e-5
        )


def test_dates_are_those_of_the_target_day(panel: Panel) -> None:
    coding = coding_of(panel)
    features, _ = rows_at(panel, ORIGIN, coding)
    for ahead in (1, 13, 28):
        target, row = panel.day(ORIGIN + ahead), features[ahead - 1]
        named = dict(zip(coding.names, row.tolist(), strict=True))
        assert named["weekday"] == target.weekday()
        assert named["day_of_month"] == target.day
        assert named["days_ahead"] == ahead
        assert named["week_ahead"] == (ahead - 1) // 7


def test_a_name_that_was_unknown_at_the_fit_is_missing(panel: Panel) -> None:
    coding = replace(coding_of(panel), departments=("d1",), event_types=("parade",))
    features, _ = rows_at(panel, ORIGIN, coding)
    column = features[:, coding.names.index("department")].reshape(-1, 28)[:, 0]
    known = panel.series["department"].eq("d1").to_numpy()
    assert (column[known] == 0).all()
    assert np.isnan(column[~known]).all()
    assert not features[:, coding.names.index("event_0")].any()


def test_a_series_without_history_has_features_all_the_same() -> None:
    retailer = make_retailer(3, 3, 120)
    assert retailer.prices is not None
    coming = retailer.prices.filter(pl.col("product_id") == "p0").with_columns(
        product_id=pl.lit("new"), valid_from=retailer.last_day + timedelta(days=3)
    )
    panel = replace(retailer, prices=pl.concat([retailer.prices, coming])).panel()
    new = panel.series["product_id"].eq("new").to_numpy()
    assert (panel.first_sale[new] == NEVER).all()
    coding = coding_of(panel)
    features, expected = rows_at(panel, panel.origin, coding)
    assert (expected > 0).all()
    weeks = features[:, coding.names.index("weeks_since_release")].reshape(-1, 28)[new]
    np.testing.assert_allclose(weeks[0], (np.arange(1, 29) - 3) / 7, rtol=1e-5)
