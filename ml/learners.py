"""Boosted trees behind one seam: LightGBM, or scikit-learn's HistGradientBoosting.

Guarantee: the same rows, settings and seed give the same trees on any number of threads. Both minimise the
Poisson deviance, take a missing value as a value, and split codes as sets.
"""

import importlib
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from infra.errors import MissingPartError

Learner = Literal["lightgbm", "hist_gradient_boosting"]
MAX_BINS = 63
"""Different values of a feature that the trees see; more changed nothing on M5."""
ROWS_PER_THREAD = 50_000
"""Rows that a further thread pays for: threads that wait for each other cost more than they do on fewer."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Boosting:
    """How trees are grown.

    Attributes:
        learner: Which library grows them.
        trees: Number of trees.
        learning_rate: Weight of each tree.
        leaves: Leaves of each tree.
        leaf_rows_min: Rows in a leaf at least; fewer when there are few rows.
        l2: Rows of evidence that a leaf needs before it says half of what it found.
        features_share: Share of the features that each tree may look at.
    """

    learner: Learner = "lightgbm"
    trees: int = 160
    learning_rate: float = 0.05
    leaves: int = 31
    leaf_rows_min: int = 60
    l2: float = 10.0
    features_share: float = 1.0


class Trees(Protocol):
    """Trees that have been grown."""

    def predict(self, features: FloatArray, threads: int | None) -> NDArray[np.float64]:
        """The mean of each row.

        Args:
            features: (n_rows, n_features), in the columns of the fit.
            threads: Threads used at most; None means one for each core.

        Returns:
            (n_rows,) not negative.
        """
        ...

    def contributions(self, features: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each feature contributes to the logarithm of each row's mean.

        Args:
            features: (n_rows, n_features), in the columns of the fit.

        Returns:
            (n_rows, n_features) and (n_rows,) what is left; together they sum to the logarithm of the mean.
        """
        ...


@dataclass(frozen=True, slots=True)
class HistTrees:
    """Trees of scikit-learn."""

    regressor: HistGradientBoostingRegressor

    def predict(self, features: FloatArray, threads: int | None) -> NDArray[np.float64]:
        """See `Trees.predict`."""
        with threadpool_limits(_threads(threads, len(features)), user_api="openmp"):
            mean: NDArray[np.float64] = self.regressor.predict(features)
        return mean

    def contributions(self, features: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Trees.contributions`; what leaving a feature out changes, since the library tells no more."""
        whole = np.log(self.predict(features, 1))
        found = np.empty(features.shape, dtype=np.float64)
        for column in range(features.shape[1]):
            without = features.copy()
            without[:, column] = np.nan
            found[:, column] = whole - np.log(self.predict(without, 1))
        return found, whole - found.sum(axis=1)


@dataclass(frozen=True, slots=True)
class LightTrees:
    """Trees of LightGBM.

    Attributes:
        text: The model as LightGBM writes it.
    """

    text: str

    def predict(self, features: FloatArray, threads: int | None) -> NDArray[np.float64]:
        """See `Trees.predict`."""
        booster = _lightgbm().Booster(model_str=self.text)
        mean: NDArray[np.float64] = booster.predict(features, num_threads=_threads(threads, len(features)))
        return mean

    def contributions(self, features: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Trees.contributions`; Shapley values."""
        booster = _lightgbm().Booster(model_str=self.text)
        found: NDArray[np.float64] = booster.predict(features, pred_contrib=True, num_threads=1)
        return found[:, :-1], found[:, -1]


def grow(
    boosting: Boosting,
    features: FloatArray,
    target: NDArray[np.floating],
    categorical: NDArray[np.bool_],
    seed: int,
    threads: int | None,
    weight: NDArray[np.floating] | None = None,
) -> HistTrees | LightTrees:
    """Grow trees that tell the mean of the target.

    Args:
        boosting: How.
        features: (n_rows, n_features); NaN is a missing value.
        target: (n_rows,) not negative, and not all zero.
        categorical: (n_features,) true where a feature is a code from 0.
        seed: Of whatever is left to chance.
        threads: Threads used at most; None means one for each core.
        weight: (n_rows,) above 0; None means that all rows weigh the same.
    """
    leaf_rows = min(boosting.leaf_rows_min, max(5, len(target) // 200))
    used = _threads(threads, len(target))
    if boosting.learner == "lightgbm":
        return LightTrees(_grow_light(boosting, features, target, categorical, seed, used, leaf_rows, weight))
    regressor = HistGradientBoostingRegressor(
        loss="poisson",
        max_iter=boosting.trees,
        learning_rate=boosting.learning_rate,
        max_leaf_nodes=boosting.leaves,
        min_samples_leaf=leaf_rows,
        l2_regularization=boosting.l2,
        max_features=boosting.features_share,
        categorical_features=categorical,
        max_bins=MAX_BINS,
        early_stopping=False,
        random_state=seed,
    )
    # It refuses a column without any value (no prices, say); a constant is never split.
    empty = np.isnan(features).all(axis=0)
    filled = np.where(empty, np.float32(0), features) if empty.any() else features
    with threadpool_limits(used, user_api="openmp"):
        regressor.fit(filled, target, weight)
    return HistTrees(regressor)


def _grow_light(
    boosting: Boosting,
    features: FloatArray,
    target: NDArray[np.floating],
    categorical: NDArray[np.bool_],
    seed: int,
    threads: int,
    leaf_rows: int,
    weight: NDArray[np.floating] | None,
) -> str:
    lightgbm = _lightgbm()
    parameters = {
        "objective": "poisson",
        "learning_rate": boosting.learning_rate,
        "num_leaves": boosting.leaves,
        "min_data_in_leaf": leaf_rows,
        "lambda_l2": boosting.l2,
        "feature_fraction": boosting.features_share,
        "max_bin": MAX_BINS,
        "min_data_in_bin": 3,
        "cat_smooth": 20.0,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbose": -1,
    }
    rows = lightgbm.Dataset(
        features,
        target,
        weight=weight,
        categorical_feature=np.flatnonzero(categorical).tolist(),
        params=parameters,
    )
    text: str = lightgbm.train(parameters, rows, boosting.trees).model_to_string()
    return text


def _lightgbm() -> ModuleType:
    """LightGBM, loaded when it is first used: it needs OpenMP's library, which some systems lack."""
    try:
        return importlib.import_module("lightgbm")
    except (ImportError, OSError) as error:
        raise MissingPartError(
            f"LightGBM cannot be loaded ({error}): install OpenMP (Debian: libgomp1; macOS: libomp), or set "
            "HEADRACE_FLOW__LEARNER=hist_gradient_boosting."
        ) from error


def _threads(wanted: int | None, rows: int) -> int:
    """Threads that pay for a number of rows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, cores, rows // ROWS_PER_THREAD))
