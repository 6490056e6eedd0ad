"""Forecast runs as the lake keeps them: the published one, its rows, and what every run says of itself."""

import threading
from collections import OrderedDict

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError
from lake import forecasts
from lake.forecast_status import ForecastStatus, load_status
from serving.forecast_run import COLUMNS, Origin, RunTable, index_run

RECORDS_MAX = 4_096


class LakeRuns:
    """Reads runs from the lake. The record of a run never changes, so each is read once while it is kept.

    Args:
        store: The lake.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._records: OrderedDict[tuple[str, str], forecasts.ForecastRun] = OrderedDict()
        self._lock = threading.Lock()

    def current(self, customer_id: str) -> str | None:
        """Id of the run that is published now; None when none is.

        Raises:
            CorruptLakeError: The pointer names a run of which there is no record.
            UnavailableError: The lake does not answer.
        """
        found = forecasts.current(self._store, customer_id)
        return None if found is None else found.run_id

    def status(self, customer_id: str) -> ForecastStatus:
        """Whether the published run is the one that should be.

        Raises:
            CorruptLakeError: What the lake says of it cannot be read.
            UnavailableError: The lake does not answer.
        """
        return load_status(self._store, customer_id)

    def load(self, customer_id: str, run_id: str) -> RunTable:
        """A run with all its rows.

        Raises:
            CorruptLakeError: There is no such run, or its file is not what was written.
            UnavailableError: The lake does not answer.
        """
        run = self.record(customer_id, run_id)
        origin = Origin(customer_id, run_id, run.model, run.made_on, run.manifest)
        return index_run(origin, forecasts.forecast_frame(self._store, run, COLUMNS))

    def find(self, customer_id: str, run_id: str) -> forecasts.ForecastRun | None:
        """What a run says of itself; None when there is none of this name. Errors as in `load`."""
        with self._lock:
            known = self._records.get((customer_id, run_id))
        return known or forecasts.load_run(self._store, customer_id, run_id)

    def was_published(self, customer_id: str, run_id: str) -> bool:
        """Whether there is such a run and its gate let it pass; errors as in `load`."""
        run = self.find(customer_id, run_id)
        return run is not None and run.accepted

    def record(self, customer_id: str, run_id: str) -> forecasts.ForecastRun:
        """What a run says of itself; errors as in `load`."""
        key = (customer_id, run_id)
        with self._lock:
            if key in self._records:
                self._records.move_to_end(key)
                return self._records[key]
        found = self.find(customer_id, run_id)
        if found is None:
            raise CorruptLakeError(
                f"run {run_id} of {customer_id}: expected its record in the lake, found none"
            )
        with self._lock:
            self._records[key] = found
            while len(self._records) > RECORDS_MAX:
                self._records.popitem(last=False)
        return found

    def newest(self, customer_id: str, limit: int) -> tuple[list[forecasts.ForecastRun], int]:
        """What the newest runs say of themselves, newest first, published or not, and how many there are.

        Raises:
            CorruptLakeError: The record of a run cannot be read.
            UnavailableError: The lake does not answer.
        """
        names = [path.rsplit("/", 1)[-1] for path in self._store.list(f"forecast_runs/{customer_id}")]
        run_ids = [name.removesuffix(".json") for name in names if name != "current.json"]
        found = [self.record(customer_id, run_id) for run_id in run_ids]
        found.sort(key=lambda run: (run.made_on, run.manifest, run.run_id), reverse=True)
        return found[:limit], len(found)
