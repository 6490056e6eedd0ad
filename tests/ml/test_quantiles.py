"""Quantiles: order, coverage, calibration."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from ml.quantiles import ALPHA_UNKNOWN, LEVELS, VOLUME_EDGES, Dispersion, calibrate, spread


def test_quantiles_are_those_of_the_negative_binomial() -> None:
    mean = np.array([[0.2, 2.0, 50.0]], dtype=np.float32)
    found = spread(mean, Dispersion((0.5,) * 7), np.array([False]))[0]
    for row, value in zip(found, mean[0].astype(float), strict=True):
        # Summed by hand: the least number at which the distribution function reaches the level.
        cumulated = np.cumsum(stats.nbinom.pmf(np.arange(2000), 2.0, 2.0 / (2.0 + value)))
        assert row.tolist() == [int(np.argmax(cumulated >= level)) for level in LEVELS]


def test_fractional_series_have_quantiles_between_whole_numbers() -> None:
    mean = np.full((2, 1), 2.5, dtype=np.float32)
    found = spread(mean, Dispersion(), np.array([True, False]))
    assert (found[0, 0] % 1 != 0).all()
    assert (found[1, 0] % 1 == 0).all()


def test_quantiles_never_cross_are_never_negative_and_are_zero_at_zero() -> None:
    random = np.random.default_rng(3)
    mean = np.concatenate([np.zeros(50), random.gamma(0.3, 5, 3000)]).reshape(-1, 10).astype(np.float32)
    found = spread(mean, Dispersion((12.0, 0.02, 5.0, 0.1, 3.0, 0.02, 12.0)), random.random(305) < 0.5)
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=2) >= 0).all()
    assert (found >= 0).all()
    assert (found[:5] == 0).all()


def test_calibration_finds_the_dispersion_that_made_the_data() -> None:
    random = np.random.default_rng(4)
    mean = np.geomspace(0.5, 60, 20_000).astype(np.float32)
    narrow, wide = (
        calibrate(mean, random.negative_binomial(1 / alpha, 1 / (1 + alpha * mean)).astype(np.float32)).alpha
        for alpha in (0.1, 1.0)
    )
    assert len(narrow) == len(wide) == len(VOLUME_EDGES) + 1
    # A slow seller's days are almost Poisson whatever the dispersion; from three units a day on it shows.
    assert np.mean(narrow[4:]) == pytest.approx(0.1, rel=0.7)
    assert np.mean(wide[4:]) == pytest.approx(1.0, rel=0.7)


def test_calibrated_ranges_cover_what_they_say() -> None:
    random = np.random.default_rng(6)
    mean = np.full((300, 40), 20.0, dtype=np.float32)
    actual = random.negative_binomial(2.5, 2.5 / (2.5 + mean)).astype(np.float32)
    ranges = spread(mean, calibrate(mean, actual), np.zeros(300, dtype=np.bool_))
    inside = ((actual >= ranges[:, :, 0]) & (actual <= ranges[:, :, -1])).mean()
    assert inside == pytest.approx(0.9, abs=0.04)


def test_without_outcomes_the_dispersion_is_the_stated_one() -> None:
    nothing = np.full((3, 4), np.nan, dtype=np.float32)
    assert set(calibrate(np.ones((3, 4), dtype=np.float32), nothing).alpha) == {ALPHA_UNKNOWN}
