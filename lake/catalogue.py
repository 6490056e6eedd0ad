"""The catalogue: `catalogue.json` in the lake tells programs its tables, columns, folders, and how much lies in each.

Guarantee: tables and columns are those of `schemas.lake_tables`. The counts are as of `made_at`: a seal
counts the newest days of raw tables again, and of the others what is its own customer's; `headrace lake make` counts
all. Nothing that Headrace itself does depends on the catalogue.
"""

import datetime as dt
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from infra.blobs import BlobStat, BlobStore
from infra.errors import CorruptLakeError, NotFoundError
from lake.manifests import Manifest, load_manifest, sealed_customers
from lake.objects import SEALED_TABLES, in_threads
from lake.parquet import read_metadata
from schemas.lake_tables import ARRIVED_ON, LAKE_TABLES, RAW_TABLES, LakeTable

logger = logging.getLogger(__name__)

PATH = "catalogue.json"
RECENT_DAYS = 2
"""How many of the newest days of arrival a seal counts again."""

Folders = dict[str, dict[str, Any]]
"""By first folder below a table what lies in it."""


def write(store: BlobStore, now: dt.datetime, sealed: Manifest | None = None) -> None:
    """Write the catalogue; see `lake.guide.explain`."""
    before = read(store)
    known = {} if sealed is None or before is None else {n: t["folders"] for n, t in before["tables"].items()}
    manifests = [sealed] if sealed is not None and known else _newest_manifests(store)
    tables = {}
    for name, table in LAKE_TABLES.items():
        folders: Folders = dict(known.get(name, {}))
        if name in RAW_TABLES:
            folders = _raw_folders(store, table, folders)
        elif name in SEALED_TABLES:
            for manifest in manifests:
                folders.pop(f"customer_id={manifest.customer_id}", None)
                folders |= _sealed_folder(manifest, table)
        else:
            owner = f"/customer_id={sealed.customer_id}" if sealed is not None and known else ""
            folders |= _counted(store, store.stats(name + owner))
        tables[name] = {
            **_described(table),
            **_totals(folders.values()),
            "folders": dict(sorted(folders.items())),
        }
    text = json.dumps({"made_at": now.isoformat(), "tables": tables}, indent=1, ensure_ascii=False)
    store.replace(PATH, text.encode())


def read(store: BlobStore) -> dict[str, Any] | None:
    """The catalogue as it stands; None when there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(store.read(PATH))
        return found if set(found["tables"]) == set(LAKE_TABLES) else None
    except (NotFoundError, ValueError, KeyError, TypeError):
        return None


def _newest_manifests(store: BlobStore) -> list[Manifest]:
    def newest(customer_id: str) -> Manifest | None:
        try:
            return load_manifest(store, customer_id)
        except CorruptLakeError as error:
            # Another customer's seal must not fail of it; its own does, and `headrace lake verify` tells.
            logger.warning("left out of the catalogue: %s", error)
            return None

    return [found for found in in_threads(newest, sealed_customers(store)) if found is not None]


def _raw_folders(store: BlobStore, table: LakeTable, known: Folders) -> Folders:
    """The day folders that are there; those before the newest of the known ones are not looked into again."""
    there = store.folders(table.name)
    closed = set(sorted(known)[:-RECENT_DAYS])
    changed = [day for day in there if day not in closed]
    kept = {day: known[day] for day in there if day in closed}
    for day in changed:
        kept |= _counted(store, store.stats(f"{table.name}/{day}"))
    return kept


def _counted(store: BlobStore, there: Mapping[str, BlobStat]) -> Folders:
    """How much lies in some objects of one table, by first folder; reads their footers."""
    paths = sorted(there)
    rows = in_threads(lambda path: read_metadata(store, path).num_rows, paths)
    found: Folders = {}
    for path, count in zip(paths, rows, strict=True):
        folder = found.setdefault(path.split("/")[1], {"objects": 0, "rows": 0, "size_bytes": 0})
        folder["objects"] += 1
        folder["rows"] += count
        folder["size_bytes"] += there[path].size_bytes
    return found


def _sealed_folder(manifest: Manifest, table: LakeTable) -> Folders:
    items = manifest.of(table.name)
    if not items:
        return {}
    days = [item.day for item in items if item.day is not None]
    span = {"first_day": min(days).isoformat(), "last_day": max(days).isoformat()} if days else {}
    counts = {
        "objects": len(items),
        "rows": sum(item.rows for item in items),
        "size_bytes": sum(item.size_bytes for item in items),
    }
    return {f"customer_id={manifest.customer_id}": {**counts, **span, "manifest": manifest.seq}}


def _totals(folders: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = list(folders)
    return {name: sum(folder[name] for folder in found) for name in ("objects", "rows", "size_bytes")}


def _described(table: LakeTable) -> dict[str, Any]:
    fields = [*table.schema, *([ARRIVED_ON] if "arrived_on" in table.partitioning else [])]
    return {
        "description": table.description,
        "files": f"{table.name}/{''.join(f'{name}=*/' for name in table.partitioning)}*.parquet",
        "partitioned_by": list(table.partitioning),
        "sorted_by": list(table.order),
        "columns": [_column(field, table) for field in fields],
    }


def _column(field: "pa.Field[pa.DataType]", table: LakeTable) -> dict[str, Any]:
    metadata = field.metadata or {}
    return {
        "name": field.name,
        "type": str(field.type),
        "nullable": field.nullable,
        "unit": metadata[b"unit"].decode(),
        "description": metadata[b"description"].decode(),
        "is_folder": field.name in table.partitioning,
    }
