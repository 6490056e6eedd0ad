"""Datasets: tables of the lake written anew beside the old ones, and then used instead of them.

A dataset is a lake of its own in the folder `datasets/NAME` of the lake, and every reader reads it like one. It
begins with copies of the old files up to some offset, those of closed days merged into few large ones if that is
wanted; from there on a second join job, with the setting `HEADRACE_DATASET`, writes it in its own way. The same
setting switches each service over, one at a time.

Guarantee: a dataset has the messages of the old one, each once: its chains go on where the copied ones end.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.blobs import DATASETS, BlobStore, open_dataset, open_store
from infra.errors import AlreadyExistsError, FaultError, SettingError
from infra.settings import Settings
from lake.append import AppendTable, RawFile
from lake.compaction import merged, merged_runs
from lake.news import ReadFile, complete_files
from lake.objects import in_threads
from schemas.lake_tables import RAW_TABLES

FOLDER = DATASETS
_BEGUN = "begun.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

JOINED = "sales_joined"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a partition is written anew.

    Attributes:
        start: Offset from which on it shall be.
        first: Oldest offset that can be read again.
    """

    start: int
    first: int


def copied(files: list[tuple[RawFile, int]], cut: Cut | None) -> list[RawFile]:
    """The files of one partition that a dataset takes over.

    Args:
        files: The chain in order: each file with the offset after it.
        cut: Where the partition is written anew; None takes all.

    Returns:
        Those that end before the cut, and those whose messages cannot be read again.
    """
    if cut is None:
        return [file for file, _ in files]
    taken: list[RawFile] = []
    end = 0
    for file, next_offset in files:
        if next_offset > cut.start and end >= cut.first:
            break
        taken.append(file)
        end = next_offset
    return taken


def begin(store: BlobStore, name: str, cuts: Mapping[int, Cut], *, compact: bool = False) -> tuple[int, int]:
    """Make a dataset: copies of the raw tables, of `sales_joined` only up to the cuts.

    Killed on the way it is begun again: what is there already is left.

    Args:
        store: The lake.
        name: Name of the dataset.
        cuts: By partition of `sales-validated` where it is written anew.
        compact: Merge the files of closed days; see `lake.compaction`.

    Returns:
        How many files were taken over, and how many they have become.

    Raises:
        SettingError: The name does not fit into a path.
        FaultError: The dataset is there already.
    """
    check_name(name)
    root = f"{FOLDER}/{name}"
    if store.stat(f"{root}/{_BEGUN}") is not None:
        raise FaultError(f"dataset {name}: expected none of this name, found it in {store.location}/{root}")
    if compact:
        # Files merged otherwise by a try that was killed would overlap with those of this one.
        in_threads(store.delete, store.list(root))
    runs = [
        (table, run)
        for table in (AppendTable(store, name) for name in RAW_TABLES)
        for number, chain in _chains(table).items()
        for run in _runs(chain, cuts.get(number) if table.name == JOINED else None, compact=compact)
    ]
    # One after the other: what is merged is held in memory.
    for table, run in runs:
        if len(run) > 1:
            (first, _), *_ = run
            store.replace(f"{root}/{first.path}", merged(table, run))

    def copy(file: RawFile) -> None:
        with contextlib.suppress(AlreadyExistsError):
            store.copy_if_absent(file.path, f"{root}/{file.path}")

    in_threads(copy, [run[0][0] for _, run in runs if len(run) == 1])
    store.replace(f"{root}/{_BEGUN}", b"{}\n")
    return sum(len(run) for _, run in runs), len(runs)


def _runs(chain: list[ReadFile], cut: Cut | None, *, compact: bool) -> list[list[ReadFile]]:
    """The files of one partition that are taken over, in runs that become one file each."""
    count = len(copied([(file, footer.next_offset) for file, footer in chain], cut))
    return merged_runs(chain[:count]) if compact else [[found] for found in chain[:count]]


def _chains(table: AppendTable) -> dict[int, list[ReadFile]]:
    """The files of each partition in order."""
    files = complete_files(table)
    chains: dict[int, list[ReadFile]] = {}
    for file, footer in zip(files, in_threads(table.footer, files), strict=True):
        chains.setdefault(file.partition, []).append((file, footer))
    return chains


def names(store: BlobStore) -> list[str]:
    """The datasets that there are, sorted."""
    return [name for name in store.folders(FOLDER) if store.stat(f"{FOLDER}/{name}/{_BEGUN}") is not None]


def check_begun(store: BlobStore, name: str) -> None:
    """Make sure that a dataset is there.

    Raises:
        SettingError: It was never begun.
    """
    if name not in names(store):
        known = ", ".join(names(store)) or "none"
        raise SettingError(
            f"HEADRACE_DATASET: expected a dataset that was begun ({known}), found {name!r}; "
            f"`headrace dataset begin {name}` makes it"
        )


def dataset_in_use(settings: Settings) -> BlobStore:
    """The store of the tables in use; see `infra.blobs.open_dataset`.

    Raises:
        SettingError: `HEADRACE_DATASET` names one that was never begun.
    """
    if settings.dataset:
        check_begun(open_store(settings), settings.dataset)
    return open_dataset(settings)


def drop(store: BlobStore, name: str) -> int:
    """Delete a dataset; returns how many objects it had.

    Raises:
        SettingError: There is none of this name.
    """
    check_begun(store, name)
    paths = store.list(f"{FOLDER}/{name}")
    in_threads(store.delete, paths)
    return len(paths)


def check_name(name: str) -> None:
    """Make sure that a name fits into a path.

    Raises:
        SettingError: It does not.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(f"dataset: expected at most 32 lower-case letters, digits and -, found {name!r}")
