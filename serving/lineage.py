"""Where a run comes from: the manifest of the data that it was trained on, and the deliveries whose rows are in it.

Guarantee: what is said of a manifest is read from its own objects, so it is exact; and since a manifest never changes,
it is worked out once while it is kept.
"""

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError
from lake.forecasts import ForecastRun
from lake.manifests import Manifest, load_manifest
from lake.objects import find
from lake.scan import collect, scan
from schemas.lake_tables import LAKE_TABLES, MASTER_KEYS

TABLES = ("sales_sealed", *MASTER_KEYS)
KEPT_MAX = 64


@dataclass(frozen=True, slots=True)
class Source:
    """A delivery of which rows are in the data.

    Attributes:
        delivery_id: The delivery.
        rows: By table of the lake the rows that it left there; a later delivery may have replaced others.
    """

    delivery_id: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The data that a run was trained on.

    Attributes:
        manifest_path: Where the manifest lies in the lake.
        sealed_at: When it was made, UTC.
        first_sold_on: First day with a sale.
        last_sold_on: Last day with a sale.
        sources: The deliveries, by id.
    """

    manifest_path: str
    sealed_at: dt.datetime
    first_sold_on: dt.date | None
    last_sold_on: dt.date | None
    sources: tuple[Source, ...]


class Lineages:
    """Works out where runs come from, and keeps the answers that were asked for last.

    Args:
        store: The lake.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, int], Lineage] = OrderedDict()
        self._lock = threading.Lock()

    def of_run(self, run: ForecastRun) -> Lineage:
        """Where a run comes from.

        Raises:
            CorruptLakeError: Its manifest, or an object of it, is not what was written.
            UnavailableError: The lake does not answer.
        """
        key = (run.customer_id, run.manifest)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        manifest = load_manifest(self._store, *key)
        if manifest is None:
            raise CorruptLakeError(
                f"run {run.run_id} of {run.customer_id}: expected its manifest {run.manifest} in the lake, found none"
            )
        found = Lineage(
            manifest.path,
            manifest.made_at,
            manifest.first_sold_on,
            manifest.last_sold_on,
            self._sources(manifest),
        )
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return found

    def _sources(self, manifest: Manifest) -> tuple[Source, ...]:
        rows: dict[int, dict[str, int]] = {}
        for name in TABLES:
            items = manifest.of(name)
            if not items:
                continue
            lines = scan(self._store, find(self._store, items), LAKE_TABLES[name])
            counts = collect(lines.group_by("delivery_id").agg(pl.len()), self._store)
            for delivery_id, count in counts.iter_rows():
                rows.setdefault(delivery_id, {})[name] = count
        return tuple(Source(delivery_id, rows[delivery_id]) for delivery_id in sorted(rows))
