"""Forecast runs: kept all, and one of them current for each customer.

Guarantee: a run's rows and its record are written once. A reader of `current.json` sees the old run or the
new one, and the run that it names is there whole. A run that its gate refused is kept with the reasons and
never becomes current.
"""

import datetime as dt
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, CorruptLakeError, FaultError, NotFoundError
from lake.parquet import parquet_bytes
from lake.scan import collect, scan
from schemas.lake_tables import LAKE_TABLES, polars_schema

logger = logging.getLogger(__name__)

_TABLE = LAKE_TABLES["forecasts"]
_AMOUNTS = ("mean", "q05", "q10", "q25", "q50", "q75", "q90", "q95")
_FILE = replace(
    _TABLE,
    schema=pa.schema([_TABLE.schema.field(name) for name in (*_TABLE.order, *_AMOUNTS)]),
    partitioning=(),
)
"""A forecast by itself, which no run stands behind."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_CURRENT = "current"


@dataclass(frozen=True, slots=True)
class ForecastRun:
    """What a run was and how its gate judged it.

    Attributes:
        run_id: Name of the run, unique for the customer; letters, digits, `-`, `_` and `.`.
        customer_id: The retailer.
        model: Name of the model.
        manifest: Number of the manifest that it was trained on.
        made_on: Day on which it was made, UTC.
        origin: Last day of history; the forecast begins on the next.
        horizon_days: Days forecast.
        accepted: Whether the gate let it pass.
        reasons: Why the gate refused it, in words; may hold remarks on an accepted run.
        metrics: Scores of the backtest, by name.
        details: Whatever else the flow wants to keep: parameters, the champion, times; JSON values.
        model_path: Where the model lies in the store; None when none was kept.
    """

    run_id: str
    customer_id: str
    model: str
    manifest: int
    made_on: dt.date
    origin: dt.date
    horizon_days: int
    accepted: bool
    reasons: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    model_path: str | None = None

    @property
    def path(self) -> str:
        """Where the record of the run lies."""
        return f"forecast_runs/{self.customer_id}/{self.run_id}.json"

    @property
    def rows_path(self) -> str:
        """Where its forecasts lie."""
        return f"{_TABLE.name}/customer_id={self.customer_id}/run_id={self.run_id}/part.parquet"

    def to_json(self) -> bytes:
        """The run as it is stored."""
        return json.dumps(asdict(self), default=_text, indent=1, sort_keys=True, allow_nan=False).encode()


def publish(store: BlobStore, run: ForecastRun, frame: pl.DataFrame) -> None:
    """Keep a run, and make it current if its gate let it pass.

    A publication that was cut short is completed by publishing the same run with the same rows again.

    Args:
        store: The blob store.
        run: What the run was.
        frame: Its forecasts: the columns of the table `forecasts`; the amounts may be Float64. The columns
            that are folders (customer_id, run_id) may be left out.

    Raises:
        AlreadyExistsError: Another run of this name is kept already; nothing has become current.
        FaultError: The rows do not fit the table or the run, or a metric is not finite.
    """
    data = rows_bytes(run, frame)
    try:
        record = run.to_json()
    except (TypeError, ValueError) as error:
        raise FaultError(f"run {run.run_id}: expected finite numbers and JSON values: {error}") from error
    _put_once(store, run.rows_path, data)
    _put_once(store, run.path, record)
    if run.accepted:
        store.replace(_current_path(run.customer_id), json.dumps({"run_id": run.run_id}).encode())
    else:
        logger.warning(
            "run %s of %s is kept and not published: %s", run.run_id, run.customer_id, "; ".join(run.reasons)
        )


def rows_bytes(run: ForecastRun, frame: pl.DataFrame) -> bytes:
    """The forecasts of a run as the Parquet file that is kept of them; arguments and errors as in `publish`."""
    if not _is_run_id(run.run_id):
        raise FaultError(f"run_id: expected letters, digits, '-', '_' and '.', found {run.run_id!r}")
    _check_owner(run, frame)
    return parquet_bytes(_fitted(frame), _TABLE, {"run_id": run.run_id})


def current(store: BlobStore, customer_id: str) -> ForecastRun | None:
    """The run that counts for a customer; None before the first.

    Raises:
        CorruptLakeError: The pointer or the run that it names cannot be read.
    """
    path = _current_path(customer_id)
    try:
        run_id = json.loads(store.read(path))["run_id"]
    except NotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptLakeError(f"{path}: expected the id of a run, found {error!r}") from error
    found = load_run(store, customer_id, run_id)
    if found is None:
        raise CorruptLakeError(
            f"{path} names the run {run_id!r}, of which there is no record; publish another"
        )
    return found


def runs(store: BlobStore, customer_id: str, newest: int | None = None) -> list[ForecastRun]:
    """Runs of a customer, accepted and refused, the oldest first.

    Args:
        store: The blob store.
        customer_id: The retailer.
        newest: How many of those whose names sort last are read, and names begin with the last day of sales; None
            reads all.
    """
    pointer = _current_path(customer_id)
    paths = sorted(path for path in store.list(f"forecast_runs/{customer_id}") if path != pointer)
    found = [_from_json(store.read(path), path) for path in (paths if newest is None else paths[-newest:])]
    return sorted(found, key=lambda run: (run.made_on, run.manifest, run.run_id))


def load_run(store: BlobStore, customer_id: str, run_id: str) -> ForecastRun | None:
    """One run of a customer; None when there is none of this name, or no run can have it.

    Raises:
        CorruptLakeError: Its record cannot be read.
    """
    if not _is_run_id(run_id):
        return None
    path = f"forecast_runs/{customer_id}/{run_id}.json"
    try:
        return _from_json(store.read(path), path)
    except NotFoundError:
        return None


def forecast_frame(store: BlobStore, run: ForecastRun, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The forecasts of a run, sorted by location, product and date.

    Args:
        store: The blob store.
        run: The run.
        columns: Which columns; None for all of the table.

    Raises:
        CorruptLakeError: The file is gone or is not what was written.
    """
    rows = scan(store, [run.rows_path], _TABLE)
    folders = [pl.lit(run.customer_id).alias("customer_id"), pl.lit(run.run_id).alias("run_id")]
    return collect(rows.with_columns(folders).select(columns or _TABLE.schema.names), store)


def forecast_bytes(frame: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    """A forecast as a Parquet file of its own, without the columns that tell of a run.

    Args:
        frame: location_id, product_id, date, mean, q05 … q95; further columns are left out.
        about: Notes for the file's metadata, by name.

    Raises:
        FaultError: The rows do not fit.
    """
    return parquet_bytes(frame.select(_FILE.schema.names), _FILE, about)


def _is_run_id(text: str) -> bool:
    """Whether a run can have this name; what has, is a file of its customer's folder, and never the pointer."""
    return _RUN_ID.match(text) is not None and text != _CURRENT


def _put_once(store: BlobStore, path: str, data: bytes) -> None:
    """Put an object if it is absent; the same content there already is our own earlier try."""
    try:
        store.put_if_absent(path, data)
    except AlreadyExistsError:
        if store.read(path) != data:
            raise


def _check_owner(run: ForecastRun, frame: pl.DataFrame) -> None:
    expected = {
        "customer_id": run.customer_id,
        "run_id": run.run_id,
        "manifest": run.manifest,
        "model": run.model,
    }
    for name, value in expected.items():
        if name in frame.columns and not bool((frame[name] == value).fill_null(value=False).all()):
            raise FaultError(f"forecasts of run {run.run_id}, {name}: expected {value!r} in every row")


def _fitted(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without the columns that are folders, its amounts as Float32 as the table has them."""
    kinds = polars_schema(_TABLE.file_schema)
    amounts = [name for name, kind in kinds.items() if kind == pl.Float32 and name in frame.columns]
    return frame.drop(_TABLE.partitioning, strict=False).with_columns(pl.col(amounts).cast(pl.Float32))


def _current_path(customer_id: str) -> str:
    return f"forecast_runs/{customer_id}/{_CURRENT}.json"


def _from_json(data: bytes, path: str) -> ForecastRun:
    try:
        fields: dict[str, Any] = json.loads(data)
        days = {name: dt.date.fromisoformat(fields[name]) for name in ("made_on", "origin")}
        return ForecastRun(**{**fields, **days, "reasons": tuple(fields["reasons"])})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptLakeError(f"{path}: expected the record of a run, found {error!r}") from error


def _text(value: object) -> str:
    if isinstance(value, dt.date):  # A datetime is a date too.
        return value.isoformat()
    raise TypeError(f"a run's record holds no {type(value).__name__}")
