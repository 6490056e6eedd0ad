"""What a model is: something that is fitted to a panel as of an origin and forecasts the days after one.

Guarantee: a forecast is finite, never negative, its quantiles never cross, and it is 0 on days on which the
    plan
has a series not on sale, and for series of which nothing was known at the origin.
"""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.errors import FaultError
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import LEVELS, Dispersion, spread

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The days after an origin.

    Attributes:
        model: Name of the model that was asked for.
        origin: Last day whose sales were known.
        mean: (n_series, horizon) float32, units a day, in the panel's order of series.
        quantiles: (n_series, horizon, 7) float32, in the order of `quantiles.LEVELS`.
        on_sale: (n_series, horizon) bool, where the plan has the series on sale.
        notes: What a reader should know, such as why a simpler model stands in; empty when all went as meant.
    """

    model: str
    origin: date
    mean: FloatArray
    quantiles: FloatArray
    on_sale: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


class FittedModel(Protocol):
    """A model that has learned."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know; empty when all went as meant."""
        ...

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """Forecast the days after an origin.

        Args:
            panel: A panel that holds the origin and the days after it; not necessarily the one fitted to.
            origin: Day index of the last day whose sales may be used.
            horizon_days: Days to forecast.

        Raises:
            FaultError: The panel does not hold these days.
        """
        ...


class Model(Protocol):
    """A model that can learn."""

    @property
    def name(self) -> str:
        """The model's name; stands in every forecast."""
        ...

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> FittedModel:
        """Learn from the days up to an origin.

        Args:
            panel: The panel; its own origin may be later.
            origin: Day index of the last day that may be learned from.
            horizon_days: Days ahead that will be asked for.
        """
        ...


def check_horizon(panel: Panel, origin: int, horizon_days: int) -> None:
    """Refuse days that a panel does not hold.

    Raises:
        FaultError: The origin or the horizon lies outside the panel.
    """
    if not 0 <= origin <= panel.origin or not 1 <= horizon_days <= len(panel.days) - 1 - origin:
        raise FaultError(
            f"The panel knows sales of the days 0 to {panel.origin} and holds {len(panel.days)} days; "
            f"found the origin {origin} with {horizon_days} days ahead."
        )


def forecast_around(
    panel: Panel,
    origin: int,
    mean: NDArray[np.floating],
    dispersion: Dispersion,
    *,
    model: str,
    notes: tuple[str, ...] = (),
) -> Forecast:
    """A forecast from its mean.

    Args:
        panel: The panel.
        origin: Day index of the origin.
        mean: (n_series, horizon) units a day.
        dispersion: How wide the quantiles lie around it.
        model: Name of the model.
        notes: What a reader should know.
    """
    on_sale = on_sale_ahead(panel, origin, mean.shape[1])
    clean = np.where(on_sale, np.maximum(mean, 0), 0).astype(np.float32)
    return Forecast(
        model, panel.day(origin), clean, spread(clean, dispersion, panel.fractional), on_sale, notes
    )


__all__ = ["LEVELS", "FittedModel", "Forecast", "Model", "check_horizon", "forecast_around"]
