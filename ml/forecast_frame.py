"""A forecast as a long table, one row for each series and day, as the lake and the API carry it.

Guarantee: a series that the plan has on sale on some day of the horizon has a row for each of its days; any
    other
series has none.
"""

import numpy as np
import polars as pl

from ml.models import Forecast
from ml.panel import Panel

QUANTILE_COLUMNS = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


def expected_series(panel: Panel, forecast: Forecast) -> pl.DataFrame:
    """The series that a forecast must hold: location_id and product_id of those on sale on some day ahead."""
    return panel.series.select("location_id", "product_id").filter(np.asarray(forecast.on_sale.any(axis=1)))


def forecast_frame(panel: Panel, forecast: Forecast) -> pl.DataFrame:
    """Lay a forecast out.

    Args:
        panel: The panel that it was made for.
        forecast: The forecast.

    Returns:
        Columns location_id, product_id, date, mean, q05 … q95 (units a day, float32), model; sorted by
        location, product and date. Days off sale are 0.
    """
    chosen = np.flatnonzero(forecast.on_sale.any(axis=1))
    horizon_days = forecast.mean.shape[1]
    rows = np.repeat(chosen, horizon_days)
    days = np.datetime64(forecast.origin) + 1 + np.arange(horizon_days)
    quantiles = forecast.quantiles[chosen].reshape(-1, len(QUANTILE_COLUMNS))
    return panel.series.select("location_id", "product_id")[rows].with_columns(
        pl.Series("date", np.tile(days, len(chosen)), dtype=pl.Date),
        pl.Series("mean", forecast.mean[chosen].ravel(), dtype=pl.Float32),
        *(
            pl.Series(name, np.ascontiguousarray(quantiles[:, index]), dtype=pl.Float32)
            for index, name in enumerate(QUANTILE_COLUMNS)
        ),
        model=pl.lit(forecast.model),
    )
