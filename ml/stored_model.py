"""A fitted model as bytes, and back.

Guarantee: reading a stored model builds no object of a type that is not on the list below, whatever the
    bytes say;
a model that was read forecasts exactly what the stored one would have.
"""

from dataclasses import asdict
from typing import Any

import skops.io

from infra.errors import CorruptLakeError
from ml.aggregate import FittedTotals
from ml.baselines import FittedWeekdayMean
from ml.features import FeatureCoding
from ml.global_trees import FittedTrees
from ml.learners import HistTrees, LightTrees
from ml.quantiles import Dispersion

FORMAT = 2
TRUSTED_TYPES = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""What a stored regressor consists of beyond what skops itself trusts; never extended by what a file asks
for."""

Storable = FittedTrees | FittedWeekdayMean


def save_model(model: Storable) -> bytes:
    """Write a fitted model.

    Args:
        model: Boosted trees, or the weekday mean that stands in for them.

    Returns:
        The bytes of a `.skops` file.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "notes": list(model.notes),
        "dispersion": [list(model.dispersion.alpha), [list(row) for row in model.dispersion.levels]],
        "trees": None,
        "totals": None,
        "coding": None,
    }
    if isinstance(model, FittedTrees):
        content["trees"] = _plain(model.trees)
        content["totals"] = _plain(model.totals.trees)
        content["coding"] = {name: list(values) for name, values in asdict(model.coding).items()}
    data: bytes = skops.io.dumps(content)
    return data


def load_model(data: bytes, threads: int | None = None) -> Storable:
    """Read a fitted model.

    Args:
        data: What `save_model` returned.
        threads: Threads used to predict; None means one for each core.

    Raises:
        CorruptLakeError: The bytes are no stored model, are of another format, or ask for a type that is not
            on the list.
    """
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES))
    except Exception as error:
        raise CorruptLakeError(f"The {len(data)} bytes are no stored model: {error}.") from error
    if unknown:
        raise CorruptLakeError(f"The stored model asks for types that are not trusted: {', '.join(unknown)}.")
    content = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CorruptLakeError(f"Expected a stored model of format {FORMAT}, found another.")
    alpha, levels = content["dispersion"]
    dispersion = Dispersion(tuple(alpha), tuple(tuple(row) for row in levels))
    notes = tuple(content["notes"])
    if content["trees"] is None:
        return FittedWeekdayMean(dispersion, notes, content["name"])
    coding = FeatureCoding(**{name: tuple(values) for name, values in content["coding"].items()})
    trees, totals = _trees(content["trees"]), FittedTotals(_trees(content["totals"]))
    return FittedTrees(trees, totals, coding, dispersion, notes, threads, content["name"])


def _plain(trees: HistTrees | LightTrees | None) -> object:
    """Trees as skops keeps them: LightGBM's are text already."""
    if isinstance(trees, HistTrees):
        return trees.regressor
    return trees.text if trees else None


def _trees(plain: Any) -> Any:
    if plain is None:
        return None
    return LightTrees(plain) if isinstance(plain, str) else HistTrees(plain)
