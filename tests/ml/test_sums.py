"""Quantiles of sums: where the answer is known, and where the truth was made up."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from ml.quantiles import LEVELS, N_CLASSES
from ml.sums import Past, SharedErrors, shared_errors, sum_quantiles

TRUTH = SharedErrors(horizon=0.02, day=0.03, series=(0.08,) * N_CLASSES, own=(0.2,) * N_CLASSES)


def factors(variance: float, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """Log-normal, unlike the gamma variables that are assumed."""
    width = np.log(1 + variance)
    return random.lognormal(-width / 2, np.sqrt(width), shape)


def made_up(n_series: int, n_days: int, seed: int, truth: SharedErrors = TRUTH) -> Past:
    random = np.random.default_rng(seed)
    mean = np.repeat(random.gamma(0.6, 5, n_series)[:, None] + 0.05, n_days, axis=1)
    rate = mean * factors(truth.horizon, (1, 1), random) * factors(truth.day, (1, n_days), random)
    rate *= factors(truth.series[0], (n_series, 1), random) * factors(truth.own[0], mean.shape, random)
    return Past(mean.astype(np.float32), random.poisson(rate).astype(np.float32), one_sum(n_series))


def one_sum(n_series: int) -> NDArray[np.int64]:
    return np.zeros(n_series, dtype=np.int64)


def test_a_sum_of_independent_poisson_days_is_poisson() -> None:
    mean = np.array([[0.2, 0.5, 1.3], [2.0, 0.0, 3.0]], dtype=np.float32)
    found = sum_quantiles(mean, SharedErrors(), one_sum(2))
    np.testing.assert_allclose(found[0], stats.poisson.ppf(LEVELS, 7.0), atol=1)
    by_series = sum_quantiles(mean, SharedErrors(), np.array([1, 0]))
    np.testing.assert_allclose(by_series[0], stats.poisson.ppf(LEVELS, 5.0), atol=1)
    np.testing.assert_allclose(by_series[1], stats.poisson.ppf(LEVELS, 2.0), atol=1)


@pytest.mark.parametrize("shared", [SharedErrors(horizon=0.25), SharedErrors(series=(0.25,) * N_CLASSES)])
def test_a_sum_whose_parts_err_together_is_negative_binomial(shared: SharedErrors) -> None:
    mean = np.full((1, 28), 2.0, dtype=np.float32)
    found = sum_quantiles(mean, shared, one_sum(1))[0]
    np.testing.assert_allclose(found, stats.nbinom.ppf(LEVELS, 4.0, 4.0 / (4.0 + 56.0)), rtol=0.06)


def test_the_sum_of_one_cell_is_that_cell() -> None:
    found = sum_quantiles(
        np.full((1, 1), 20.0, dtype=np.float32), SharedErrors(own=(0.5,) * N_CLASSES), one_sum(1)
    )
    np.testing.assert_allclose(found[0], stats.nbinom.ppf(LEVELS, 2.0, 2.0 / 22.0), rtol=0.08, atol=1)


def test_a_sum_of_fractional_days_without_shared_errors_is_gamma() -> None:
    mean = np.full((3, 4), 1.5, dtype=np.float32)
    found = sum_quantiles(mean, SharedErrors(), one_sum(3), fractional=np.ones(3, dtype=np.bool_))[0]
    np.testing.assert_allclose(found, stats.gamma.ppf(LEVELS, 18.0), rtol=0.04)
    assert (found % 1 != 0).any()


def test_quantiles_of_sums_lie_nearer_together_than_sums_of_quantiles() -> None:
    mean = np.full((1, 28), 2.0, dtype=np.float32)
    alone, together = (
        sum_quantiles(
            mean, SharedErrors(series=(share,) * N_CLASSES, own=(0.5 - share,) * N_CLASSES), one_sum(1)
        )[0]
        for share in (0.0, 0.5)
    )
    one_day = sum_quantiles(mean[:, :1], SharedErrors(own=(0.5,) * N_CLASSES), one_sum(1))[0]
    assert alone[-1] - alone[0] < 0.35 * (together[-1] - together[0])
    assert together[-1] - together[0] < 28 * (one_day[-1] - one_day[0])


def test_quantiles_of_sums_never_cross_and_are_zero_at_zero_and_repeat() -> None:
    random = np.random.default_rng(2)
    mean = random.gamma(0.4, 3, (30, 14)).astype(np.float32)
    mean[:3] = 0
    sums = np.arange(30) // 3
    found = sum_quantiles(mean, TRUTH, sums, fractional=random.random(30) < 0.5)
    assert found.shape == (10, len(LEVELS))
    assert (np.diff(found, axis=1) >= 0).all()
    assert not found[0].any()
    assert (found[1:, -1] > 0).all()
    assert sum_quantiles(mean, TRUTH, sums).tobytes() == sum_quantiles(mean, TRUTH, sums).tobytes()


def test_the_variances_that_made_the_data_are_found() -> None:
    found = shared_errors([made_up(80, 28, seed) for seed in range(60)])
    assert found.horizon == pytest.approx(TRUTH.horizon, abs=0.012)
    assert found.day == pytest.approx(TRUTH.day, abs=0.012)
    assert found.series[3:5] == pytest.approx(TRUTH.series[3:5], abs=0.03)
    # Slow sellers' days are almost Poisson, and of the fastest there are few.
    assert found.own[3:5] == pytest.approx(TRUTH.own[3:5], abs=0.05)


def test_only_series_that_are_summed_together_are_held_to_err_together() -> None:
    truth = SharedErrors(horizon=0.1)
    pasts = []
    for seed in range(30):
        parts = [made_up(40, 28, 100 * seed + number, truth) for number in range(2)]
        mean, actual = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "actual")
        )
        pasts.append(Past(mean, actual, np.repeat([0, 1], 40)))
    apart = shared_errors(pasts).horizon
    mixed = shared_errors([replace(past, together=one_sum(80)) for past in pasts]).horizon
    assert apart == pytest.approx(0.1, rel=0.45)
    assert mixed == pytest.approx(apart / 2, rel=0.35)


def test_nine_sums_in_ten_lie_within_the_range_that_past_errors_give() -> None:
    learned = shared_errors([made_up(60, 28, seed) for seed in range(20)])
    inside_of_series, inside_of_all = [], []
    for seed in range(1_000, 1_015):
        new = made_up(60, 28, seed)
        ranges = sum_quantiles(new.mean, learned, np.arange(60))
        sold = new.actual.sum(axis=1)
        inside_of_series.append(((ranges[:, 0] <= sold) & (sold <= ranges[:, -1])).mean())
        low, *_, high = sum_quantiles(new.mean, learned, one_sum(60))[0]
        inside_of_all.append(low <= sold.sum() <= high)
    assert np.mean(inside_of_series) == pytest.approx(0.92, abs=0.04)
    assert np.mean(inside_of_all) > 0.7


def test_what_is_not_known_is_left_out_and_nothing_known_is_nothing_shared() -> None:
    past = made_up(30, 28, 1)
    hidden = past.actual.copy()
    hidden[:10] = np.nan
    part = Past(past.mean[10:], past.actual[10:], one_sum(20))
    assert shared_errors([replace(past, actual=hidden)]) == shared_errors([part])
    assert shared_errors([]) == SharedErrors()
    assert shared_errors([replace(past, actual=np.full_like(hidden, np.nan))]) == SharedErrors()


def test_a_sum_of_nothing_is_nothing() -> None:
    assert sum_quantiles(np.zeros((0, 7), dtype=np.float32), TRUTH, one_sum(0)).shape == (0, len(LEVELS))
