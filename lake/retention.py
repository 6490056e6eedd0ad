"""Old files of the raw tables, and which of them may go.

Guarantee: a file of sales or master data goes only when the last manifest of every customer in it covers it, so
nothing that arrived is lost before it is sealed; the newest file of a partition, which says where its chain goes on,
never goes. Files go from the beginning of a chain, so what is left has no gap. Sealed tables and what manifests name
are not touched: every model names its manifest, and stays traceable to its exact data.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from infra.blobs import BlobStore
from lake.append import AppendTable, Footer, RawFile
from lake.manifests import load_manifest, sealed_customers
from lake.news import SEALED_SOURCES, Offsets
from lake.objects import in_threads


@dataclass(frozen=True, slots=True)
class Expired:
    """Old files of one table.

    Attributes:
        files: Those that may go.
        rows: Number of their rows.
        held_back: How many others are as old and stay, most of them because somebody's sales in them are not sealed.
    """

    files: tuple[RawFile, ...]
    rows: int
    held_back: int


def expired(table: AppendTable, first_day_kept: dt.date) -> Expired:
    """The files of a raw table that arrived before a day and may go; nothing is deleted.

    Raises:
        CorruptLakeError: A file or manifest is not what the lake wrote.
    """
    sealed = _sealed_offsets(table.store)
    files: list[RawFile] = []
    rows = held_back = 0
    for _, chain in groupby(table.files(), key=lambda file: file.partition):
        old = [file for file in list(chain)[:-1] if file.arrived_on < first_day_kept]
        gone = list(_sealed_beginning(table, old, sealed))
        files += [file for file, _ in gone]
        rows += sum(footer.rows for _, footer in gone)
        held_back += len(old) - len(gone)
    return Expired(tuple(files), rows, held_back)


def delete(store: BlobStore, found: Expired) -> None:
    """Delete files, the oldest first: cut short, it leaves no gap either."""
    for file in found.files:
        store.delete(file.path)


def _sealed_offsets(store: BlobStore) -> dict[str, Offsets]:
    """By customer what the last manifest covers."""
    names = sealed_customers(store)
    manifests = in_threads(lambda name: load_manifest(store, name), names)
    return {
        name: {table: dict(offsets) for table, offsets in manifest.offsets.items()}
        for name, manifest in zip(names, manifests, strict=True)
        if manifest is not None
    }


def _sealed_beginning(
    table: AppendTable, old: list[RawFile], sealed: dict[str, Offsets]
) -> Iterator[tuple[RawFile, Footer]]:
    """The files from the beginning of a chain up to the first that somebody has not sealed."""
    for file, footer in zip(old, in_threads(table.footer, old), strict=True):
        covered = table.name not in SEALED_SOURCES or all(
            sealed.get(customer_id, {}).get(table.name, {}).get(file.partition, 0) >= footer.next_offset
            for customer_id in footer.customers
        )
        if not covered:
            return
        yield file, footer
