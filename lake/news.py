"""What has arrived for a customer since the last manifest: the unread files of the raw tables.

Guarantee: a file is read for one manifest of a customer and never skipped: a chain is taken only as far as it
is known to be complete. Files in which the customer has no row are not opened beyond their footers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, NotFoundError
from lake.append import AppendTable, Footer, RawFile
from lake.manifests import load_manifest
from lake.objects import in_threads
from schemas.lake_tables import MASTER_KEYS

SEALED_SOURCES = ("sales_joined", *(f"changes_{name}" for name in MASTER_KEYS))
HINT_PATH = "seal_hints.json"

Offsets = dict[str, dict[int, int]]
"""By raw table and partition an offset, mostly the first that was not looked at."""
ReadFile = tuple[RawFile, Footer]
"""A file and what it says of itself."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Raw files beyond some offsets.

    Attributes:
        files: By raw table the files and what they say of themselves, in the order of arrival.
    """

    files: Mapping[str, list[ReadFile]]

    def of(self, customer_id: str, table: str) -> list[ReadFile]:
        """The files of a table with rows of a customer."""
        return [found for found in self.files.get(table, []) if customer_id in found[1].customers]

    def first(self, sales_rows_max: int) -> "Unread":
        """As many files of sales as have so many rows together, at least one; all of the other tables."""
        taken: list[ReadFile] = []
        rows = 0
        for file, footer in self.files.get("sales_joined", []):
            if taken and rows + footer.rows > sales_rows_max:
                break
            taken.append((file, footer))
            rows += footer.rows
        return Unread({**self.files, "sales_joined": taken})

    def offsets(self, start: Offsets) -> Offsets:
        """The offsets after these files, from those before them."""
        after = {table: dict(partitions) for table, partitions in start.items()}
        for table, found in self.files.items():
            partitions = after.setdefault(table, {})
            for file, footer in found:
                partitions[file.partition] = max(partitions.get(file.partition, 0), footer.next_offset)
        return after


class Chains:
    """The raw tables as they stand at one moment.

    Args:
        store: The blob store.
    """

    def __init__(self, store: BlobStore) -> None:
        self._tables = {name: AppendTable(store, name) for name in SEALED_SOURCES}
        self._files = {name: complete_files(table) for name, table in self._tables.items()}

    def beyond(self, offsets: Offsets) -> Unread:
        """The files that begin at or beyond some offsets."""
        found: dict[str, list[ReadFile]] = {}
        for name, table in self._tables.items():
            start = offsets.get(name, {})
            files = [file for file in self._files[name] if file.first_offset >= start.get(file.partition, 0)]
            # By day first: what is taken of several chains is then of about the same age.
            files.sort(key=lambda file: (file.arrived_on, file.first_offset, file.partition))
            found[name] = list(zip(files, in_threads(table.footer, files), strict=True))
        return Unread(found)


def complete_files(table: AppendTable) -> list[RawFile]:
    """The files of a table without a gap in any chain, though it may grow while it is listed.

    A listing takes its time and may show a file but not its predecessor, when both were written meanwhile.
    What a second listing shows up to the ends of the first is complete: those predecessors were there before
    it began.
    """
    ends: dict[int, int] = {}
    for file in table.files():
        ends[file.partition] = max(ends.get(file.partition, 0), file.first_offset)
    return [file for file in table.files() if file.first_offset <= ends.get(file.partition, -1)]


def customers_with_news(store: BlobStore) -> list[str]:
    """Ids of the customers for whom something lies in the raw tables that is not sealed yet, sorted.

    Only files written since the last call are looked at; where each customer last had a row is noted in
    `seal_hints.json`, which may be deleted without harm.
    """
    hint = _load_hint(store)
    unread = Chains(store).beyond(hint.read)
    for table, found in unread.files.items():
        for file, footer in found:
            for customer_id in footer.customers:
                last = hint.last.setdefault(customer_id, {}).setdefault(table, {})
                last[file.partition] = max(last.get(file.partition, 0), file.first_offset)
    if any(unread.files.values()):
        store.replace(HINT_PATH, json.dumps({"read": unread.offsets(hint.read), "last": hint.last}).encode())
    return [
        customer_id
        for customer_id in sorted(hint.last)
        if _has_news(store, customer_id, hint.last[customer_id])
    ]


def _has_news(store: BlobStore, customer_id: str, last: Offsets) -> bool:
    manifest = load_manifest(store, customer_id)
    sealed = manifest.offsets if manifest else {}
    return any(
        offset >= sealed.get(table, {}).get(partition, 0)
        for table, partitions in last.items()
        for partition, offset in partitions.items()
    )


@dataclass(frozen=True, slots=True)
class _Hint:
    """Up to where footers were read, and by customer the first offset of the last file with a row of it."""

    read: Offsets
    last: dict[str, Offsets]


def _load_hint(store: BlobStore) -> _Hint:
    try:
        found = json.loads(store.read(HINT_PATH))
        return _Hint(_offsets(found["read"]), {name: _offsets(last) for name, last in found["last"].items()})
    except NotFoundError:
        return _Hint({}, {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptLakeError(f"{HINT_PATH}: expected offsets by table; delete it") from error


def _offsets(found: dict[str, dict[str, int]]) -> Offsets:
    return {table: {int(part): int(at) for part, at in parts.items()} for table, parts in found.items()}
