"""Objects of the sealed tables: kept under their digest, and laid out by customer and day to be read.

Guarantee: an object under `objects/` never changes once it is there, so whatever a manifest names can be read
however often its day has been sealed again. The folders of the tables are laid out from the last manifest
after it was written; a layout that was cut short is completed by the next one. In a directory both are names
of one file, so nothing is stored twice.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import polars as pl

from infra.blobs import BlobStat, BlobStore
from infra.errors import AlreadyExistsError, CorruptLakeError, NotFoundError
from lake.manifests import Manifest, SealedObject
from lake.parquet import parquet_bytes
from schemas.lake_tables import LAKE_TABLES, MASTER_KEYS, LakeTable

logger = logging.getLogger(__name__)

FOLDER = "objects"
SEALED_TABLES = ("sales_sealed", "sales_daily", "sales_withdrawn", *MASTER_KEYS)
THREADS = 8
READ_BYTES = 2**20
_T = TypeVar("_T")
_R = TypeVar("_R")


def kept_path(path: str, sha256: str) -> str:
    """Where an object that is laid out at `path` is kept under its digest."""
    return f"{FOLDER}/{path.rpartition('/')[0]}/{sha256}.parquet"


def table_folder(table: LakeTable, customer_id: str) -> str:
    """Where a customer's objects of a sealed table lie."""
    return f"{table.name}/customer_id={customer_id}"


def in_threads(act: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Do something that waits on the store for every item, a few at a time; the first error ends it."""
    items = list(items)
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="lake") as pool:
        return list(pool.map(act, items))


def keep(
    store: BlobStore, table: LakeTable, customer_id: str, day: dt.date | None, frame: pl.DataFrame
) -> SealedObject:
    """Write an object under its digest; it is not laid out yet.

    Args:
        store: The blob store.
        table: Its table.
        customer_id: The retailer.
        day: Local day of its sales; None in a table with one object for each customer.
        frame: Its rows, without the columns that are folders.
    """
    data = parquet_bytes(frame, table)
    sha256 = hashlib.sha256(data).hexdigest()
    name = "state.parquet" if day is None else f"sold_on={day}/part.parquet"
    path = f"{table_folder(table, customer_id)}/{name}"
    kept = kept_path(path, sha256)
    try:
        store.put_if_absent(kept, data)
    except AlreadyExistsError:
        # The name is the content, so it is our own object of an earlier try.
        logger.debug("%s is there already", kept)
    stat = store.stat(kept)
    if stat is None or stat.size_bytes != len(data):
        raise CorruptLakeError(f"{kept}: expected {len(data)} bytes, found {stat and stat.size_bytes}")
    return SealedObject(table.name, path, day, frame.height, len(data), sha256, stat.etag)


def find(store: BlobStore, items: Sequence[SealedObject]) -> list[str]:
    """Paths at which the content of objects can be read now, in their order.

    Raises:
        CorruptLakeError: One is neither kept under its digest nor laid out as it was.
    """
    return in_threads(lambda item: _find(store, item), items)


def _find(store: BlobStore, item: SealedObject) -> str:
    kept = kept_path(item.path, item.sha256)
    stat = store.stat(kept)
    if stat is not None and stat.size_bytes == item.size_bytes:
        return kept
    if digest(store, item.path) == item.sha256:
        return item.path
    raise CorruptLakeError(
        f"{item.path}: expected the content that a manifest names (sha256 {item.sha256}) there or in {kept}, "
        "found it in neither; restore one of the two from a backup"
    )


def digest(store: BlobStore, path: str) -> str | None:
    """SHA-256 of an object; None when there is none."""
    try:
        hashed = hashlib.sha256()
        with store.open(path) as file:
            while block := file.read(READ_BYTES):
                hashed.update(block)
        return hashed.hexdigest()
    except NotFoundError:
        return None


def lay_out(store: BlobStore, manifest: Manifest) -> int:
    """Make the folders of a customer's sealed tables what a manifest says.

    Args:
        store: The blob store.
        manifest: The customer's last manifest.

    Returns:
        Number of objects that were put in place or removed; 0 when all was in order.
    """
    there: dict[str, BlobStat] = {}
    for name in SEALED_TABLES:
        there |= store.stats(table_folder(LAKE_TABLES[name], manifest.customer_id))
    wanted = {item.path: item for item in manifest.objects}
    strays = [path for path in there if path not in wanted]
    in_threads(store.delete, strays)
    changed = [
        item for item in manifest.objects if there.get(item.path) != BlobStat(item.size_bytes, item.etag)
    ]
    in_threads(lambda item: store.copy(kept_path(item.path, item.sha256), item.path), changed)
    return len(strays) + len(changed)
