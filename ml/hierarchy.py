"""The levels at which a forecast is judged: from the total over regions and departments to the single series.

Guarantee: every level covers every series exactly once.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

LEVELS: Mapping[str, tuple[str, ...]] = {
    "total": (),
    "region": ("region",),
    "location": ("location_id",),
    "category": ("category",),
    "department": ("department",),
    "region_category": ("region", "category"),
    "region_department": ("region", "department"),
    "location_category": ("location_id", "category"),
    "location_department": ("location_id", "department"),
    "product": ("product_id",),
    "product_region": ("product_id", "region"),
    "series": ("location_id", "product_id"),
}
"""The twelve levels of the M5 competition, by the columns that they group by."""


def level_codes(series: pl.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Number the members of each level.

    Args:
        series: n_series rows with the columns named in `LEVELS`; a null is a member of its own.

    Returns:
        By level (n_series,) numbers from 0, without gaps.
    """
    codes = {}
    for level, columns in LEVELS.items():
        code = np.zeros(series.height, dtype=np.int64)
        for column in columns:
            own = series[column].cast(pl.String).fill_null("").rank("dense").cast(pl.Int64).to_numpy()
            code = np.unique(code * (series.height + 2) + own, return_inverse=True)[1]
        codes[level] = code
    return codes
