"""Forecast runs as the lake keeps them: the published one, its rows, and what every run says of itself."""

import io

import orjson
import polars as pl

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, NotFoundError
from serving.answers import RunAnswer, RunsAnswer
from serving.forecast_run import ForecastRun, Origin, index_run


class LakeRuns:
    """Reads runs from the lake.

    Args:
        store: The lake.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def current(self, customer_id: str) -> str | None:
        """Id of the run that is published now; None when none is.

        Raises:
            UnavailableError: The lake does not answer.
        """
        try:
            return str(orjson.loads(self._store.read(f"forecast_runs/{customer_id}/current.json"))["run_id"])
        except NotFoundError:
            return None

    def load(self, customer_id: str, run_id: str) -> ForecastRun:
        """A run with all its rows.

        Raises:
            CorruptLakeError: The pointer names a run that is not there or holds rows of several runs.
            UnavailableError: The lake does not answer.
        """
        path = f"forecasts/customer_id={customer_id}/run_id={run_id}/part.parquet"
        frame = pl.read_parquet(io.BytesIO(self._store.read(path)), hive_partitioning=False)
        origins = frame.select("model", "made_on", "manifest").unique()
        if origins.height != 1:
            raise CorruptLakeError(f"{path}: expected rows of one run, found {origins.height} origins")
        return index_run(Origin(customer_id, run_id, **origins.row(0, named=True)), frame)

    def newest(self, customer_id: str, limit: int) -> RunsAnswer:
        """What the newest runs say of themselves, newest first."""
        current = self.current(customer_id)
        paths = [
            path
            for path in self._store.list(f"forecast_runs/{customer_id}")
            if not path.endswith("/current.json")
        ]
        runs = []
        for path in sorted(paths, reverse=True)[:limit]:
            run_id = path.rsplit("/", 1)[-1].removesuffix(".json")
            runs.append(
                RunAnswer(run_id=run_id, current=run_id == current, run=orjson.loads(self._store.read(path)))
            )
        return RunsAnswer(customer_id=customer_id, current=current, runs=runs)
