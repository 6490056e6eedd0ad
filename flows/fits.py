"""The fits of a customer's day, each a piece of work of its own: every model at every origin, and the model at last.

Guarantee: a piece is told by names alone and reads its data from the lake, so it runs in a thread, a process or on
another machine with the same settings; and it comes to the same wherever it runs.
"""

import threading
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from flows.customer_day import Trained, models_of, train
from flows.training_data import read_panel
from infra.blobs import open_dataset
from infra.errors import CorruptLakeError
from infra.settings import FlowSettings, load_settings
from lake.manifests import load_manifest
from ml.backtest import Trial, backtest_origins, try_origin
from ml.panel import Panel

_reading = threading.Lock()


@dataclass(frozen=True, slots=True)
class Work:
    """What all fits of a day share.

    Attributes:
        customer_id: The customer.
        manifest: Number of the manifest that pins the data.
        origin: Last day of sales used.
        flow: How the forecast is made.
        key: Names the work: the same key, the same outcome.
    """

    customer_id: str
    manifest: int
    origin: date
    flow: FlowSettings
    key: str


def panel_of(work: Work) -> Panel:
    """The panel of a day, read once in each process."""
    with _reading:
        return _panel(work.customer_id, work.manifest, work.origin, work.flow.horizon_days)


@lru_cache(maxsize=1)
def _panel(customer_id: str, seq: int, origin: date, horizon_days: int) -> Panel:
    store = open_dataset(load_settings())
    manifest = load_manifest(store, customer_id, seq)
    if manifest is None:
        raise CorruptLakeError(f"expected manifest {seq} of customer {customer_id}, found none")
    return read_panel(store, manifest, origin, horizon_days)


def trials_of(work: Work) -> list[tuple[str, int]]:
    """The models and origins (day indices of the panel) of the backtest, in their order."""
    origins = backtest_origins(panel_of(work), work.flow.backtest_origins, work.flow.horizon_days)
    return [(model, origin) for model in models_of(work.flow) for origin in origins]


def try_one(work: Work, model: str, origin: int) -> Trial:
    """One model at one origin of the backtest."""
    return try_origin(panel_of(work), models_of(work.flow)[model], origin, work.flow.horizon_days)


def train_one(work: Work) -> Trained:
    """The model fitted to all days, and its forecast."""
    return train(panel_of(work), work.flow)
