"""Each metric against a twin that is written with loops."""

import math

import numpy as np
import polars as pl
import pytest

from ml.hierarchy import LEVELS, level_codes
from ml.metrics import Array, bias, coverage, rmsse, scale, scaled_pinball, summed, wape, wrmsse

N_SERIES, HORIZON, HISTORY = 12, 9, 40
PROBABILITIES = (0.1, 0.5, 0.9)
NAN = float("nan")


class Case:
    """Random sales with gaps, a late start and a series that never sold."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.history = random.poisson(1.2, (N_SERIES, HISTORY)).astype(np.float32)
        self.history[2, :17] = 0
        self.history[3] = 0
        self.history[4, 20:25] = np.nan
        self.actual = random.poisson(1.2, (N_SERIES, HORIZON)).astype(np.float32)
        self.actual[1] = np.nan
        self.actual[5, 3:6] = np.nan
        self.mean = random.gamma(2, 0.6, (N_SERIES, HORIZON)).astype(np.float32)
        self.quantiles = np.sort(random.gamma(2, 0.8, (N_SERIES, HORIZON, 3)), axis=2).astype(np.float32)
        self.revenue = random.gamma(1, 10, N_SERIES)
        self.series = pl.DataFrame(
            {
                "location_id": [f"l{number // 4}" for number in range(N_SERIES)],
                "region": [(None, "south")[number // 8] for number in range(N_SERIES)],
                "product_id": [f"p{number % 4}" for number in range(N_SERIES)],
                "department": [f"d{number % 4 // 2}" for number in range(N_SERIES)],
                "category": ["c"] * N_SERIES,
            }
        )

    def cells(self) -> list[tuple[int, int]]:
        return [(s, d) for s in range(N_SERIES) for d in range(HORIZON) if not math.isnan(self.actual[s, d])]


@pytest.fixture(params=range(3))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def naive_scale(sold: list[float], power: int) -> float:
    sold = [0.0 if math.isnan(value) else value for value in sold]
    first = next((number for number, value in enumerate(sold) if value > 0), None)
    steps = (
        [] if first is None else [abs(sold[n] - sold[n - 1]) ** power for n in range(first + 1, len(sold))]
    )
    return sum(steps) / len(steps) if steps else NAN


def naive_rmsse(actual: Array, mean: Array, history: Array) -> float:
    errors = [(a - m) ** 2 for a, m in zip(actual.tolist(), mean.tolist(), strict=True) if not math.isnan(a)]
    base = naive_scale(history.tolist(), 2)
    return math.sqrt(sum(errors) / len(errors) / base) if errors and base > 0 else NAN


def test_wape_and_bias_agree_with_their_twins(case: Case) -> None:
    sold = sum(float(case.actual[cell]) for cell in case.cells())
    assert wape(case.actual, case.mean) == pytest.approx(
        sum(abs(float(case.actual[c]) - float(case.mean[c])) for c in case.cells()) / sold
    )
    assert bias(case.actual, case.mean) == pytest.approx(
        sum(float(case.mean[c]) for c in case.cells()) / sold - 1, abs=1e-6
    )


def test_a_forecast_above_the_sales_has_a_positive_bias() -> None:
    assert bias(np.full((1, 2), 4.0), np.full((1, 2), 5.0)) == pytest.approx(0.25)


def test_scales_start_at_the_first_sale(case: Case) -> None:
    for squared, power in ((True, 2), (False, 1)):
        expected = [naive_scale(case.history[s].tolist(), power) for s in range(N_SERIES)]
        np.testing.assert_allclose(scale(case.history, squared=squared), expected)


def test_rmsse_agrees_with_its_twin(case: Case) -> None:
    expected = [naive_rmsse(case.actual[s], case.mean[s], case.history[s]) for s in range(N_SERIES)]
    np.testing.assert_allclose(rmsse(case.actual, case.mean, case.history), expected, rtol=1e-5)


def test_wrmsse_agrees_with_its_twin_on_all_twelve_levels(case: Case) -> None:
    found = wrmsse(case.actual, case.mean, case.history, case.revenue, level_codes(case.series))
    scores = []
    for level, columns in LEVELS.items():
        members: dict[tuple[object, ...], list[int]] = {}
        for number, row in enumerate(case.series.rows(named=True)):
            members.setdefault(tuple(row[column] for column in columns), []).append(number)
        total, weights = 0.0, 0.0
        for rows in members.values():
            actual = np.nan_to_num(case.actual[rows]).sum(axis=0)
            mean = np.where(np.isnan(case.actual[rows]), 0, case.mean[rows]).sum(axis=0)
            score = naive_rmsse(actual, mean, np.nan_to_num(case.history[rows]).sum(axis=0))
            if not math.isnan(score):
                total += score * case.revenue[rows].sum()
                weights += case.revenue[rows].sum()
        assert found[level] == pytest.approx(total / weights, rel=1e-5)
        scores.append(total / weights)
    assert len(scores) == 12
    assert found["all"] == pytest.approx(sum(scores) / 12, rel=1e-5)


def test_scaled_pinball_agrees_with_its_twin(case: Case) -> None:
    by_series = []
    for s in range(N_SERIES):
        base, losses = naive_scale(case.history[s].tolist(), 1), []
        for d in range(HORIZON):
            for number, level in enumerate(PROBABILITIES):
                gap = float(case.actual[s, d]) - float(case.quantiles[s, d, number])
                losses.append(level * gap if gap >= 0 else (level - 1) * gap)
        losses = [loss for loss in losses if not math.isnan(loss)]
        if losses and base > 0:
            by_series.append(sum(losses) / len(losses) / base)
    found = scaled_pinball(case.actual, case.quantiles, PROBABILITIES, case.history)
    assert found == pytest.approx(sum(by_series) / len(by_series), rel=1e-5)


def test_coverage_counts_its_bounds_as_inside(case: Case) -> None:
    lower, upper = np.floor(case.quantiles[:, :, 0]), np.ceil(case.quantiles[:, :, 2])
    inside = [lower[c] <= case.actual[c] <= upper[c] for c in case.cells()]
    assert coverage(case.actual, lower, upper) == pytest.approx(sum(inside) / len(inside))
    assert coverage(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1))) == 1


def test_metrics_of_nothing_are_not_defined() -> None:
    none, empty = np.full((2, 3), np.nan), np.zeros((0, 3))
    for actual in (none, empty):
        mean = np.zeros(actual.shape)
        assert math.isnan(wape(actual, mean))
        assert math.isnan(bias(actual, mean))
        assert math.isnan(coverage(actual, mean, mean))
        assert math.isnan(scaled_pinball(actual, mean[:, :, None], (0.5,), mean))
        codes = {"total": np.zeros(len(actual), dtype=np.int64)}
        assert math.isnan(wrmsse(actual, mean, mean, np.zeros(len(actual)), codes)["all"])


def test_groups_are_summed_in_the_order_of_their_numbers() -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0], [4.0, 8.0]])
    assert summed(values, np.array([1, 0, 1])).tolist() == [[2, 5], [5, 8]]


def test_the_levels_number_their_members_without_gaps(case: Case) -> None:
    for level, codes in level_codes(case.series).items():
        assert sorted(set(codes.tolist())) == list(
            range(case.series.n_unique(list(LEVELS[level]) or ["category"]))
        )
