"""Snapshots of a job's state in the blob store: where it goes on instead of reading its topics from the beginning.

A snapshot is one object, `state/NAME/POSITION-DIGEST.zip`: the columns of the state as Parquet files, the
offsets up to which they hold, and the topics' ids. POSITION is the sum of the offsets, so names rise with
them. Anybody may open it with unzip and any reader of Parquet.

Guarantee: what is restored is what was written, whole, of the topics as they are now. A snapshot that is
broken, of another version, or of a topic that has been made anew or lies elsewhere is passed over, and the log
says why; what it would have covered is read from the topic, or from an older snapshot on. What neither a
snapshot nor the topic holds any more is never passed over: `starts` raises.
"""

import hashlib
import io
import json
import logging
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, FaultError, HeadraceError, NotFoundError
from infra.extents import Extent

logger = logging.getLogger(__name__)

Place = tuple[str, int]

FORMAT = 1
KEPT = 3
CLOSE_S_MAX = 60.0
FOLDER = "state"
_NAME = re.compile(r"(\d{20})-([0-9a-f]{16})\.zip$")
_NOTES = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a job as of some offsets.

    Attributes:
        positions: Next offset of each (topic, partition) that is not in the state.
        frames: The state as columns, by name.
        topic_ids: Kafka's id of each topic, empty where the broker gives none.
    """

    positions: Mapping[Place, int]
    frames: Mapping[str, pl.DataFrame]
    topic_ids: Mapping[str, str]


class Snapshots:
    """The snapshots of one state.

    Args:
        store: The blob store.
        name: Name of the state; processes that hold the same state share it.
    """

    def __init__(self, store: BlobStore, name: str) -> None:
        self._store = store
        self._folder = f"{FOLDER}/{name}"

    def write(self, snapshot: Snapshot) -> str | None:
        """Store a snapshot and remove all but the newest ones.

        Returns:
            Its path; None when one that is as new is there already.

        Raises:
            UnavailableError: The store does not answer.
        """
        position = sum(snapshot.positions.values())
        if any(_position(path) >= position for path in self._paths()):
            return None
        data = _packed(snapshot)
        path = f"{self._folder}/{position:020d}-{hashlib.sha256(data).hexdigest()[:16]}.zip"
        try:
            self._store.put_if_absent(path, data)
        except AlreadyExistsError:
            return None
        for old in self._paths()[KEPT:]:
            self._store.delete(old)
        return path

    def newest(
        self,
        now: Mapping[Place, Extent],
        schemas: Mapping[str, pl.Schema],
        upto: Mapping[Place, int] | None = None,
    ) -> Snapshot | None:
        """The newest snapshot that is whole and fits the topics as they are; None when there is none.

        Args:
            now: What the topics hold.
            schemas: Columns of each frame of the state.
            upto: Positions that it must not be beyond.
        """
        for path, snapshot in self._readable(schemas):
            problem = misfit(snapshot, now)
            if problem is not None:
                logger.warning("%s/%s is passed over: %s", self._store.location, path, problem)
            elif upto is None or all(upto.get(place, 0) >= at for place, at in snapshot.positions.items()):
                return snapshot
        return None

    def _readable(self, schemas: Mapping[str, pl.Schema]) -> Iterator[tuple[str, Snapshot]]:
        for path in self._paths():
            try:
                snapshot = _unpacked(self._store.read(path), path)
            except NotFoundError:
                continue  # Its writer has newer ones and has removed it.
            except _BrokenError as error:
                logger.warning("%s/%s is passed over: %s", self._store.location, path, error)
                continue
            found = {name: frame.schema for name, frame in snapshot.frames.items()}
            if found != schemas:
                logger.warning(
                    "%s/%s is passed over: its columns are those of another version",
                    self._store.location,
                    path,
                )
                continue
            yield path, snapshot

    def _paths(self) -> list[str]:
        """Paths of the snapshots, newest first."""
        return [path for path in reversed(self._store.list(self._folder)) if _NAME.search(path)]


class _BrokenError(Exception):
    """The bytes of a snapshot are not what its name or its notes say."""


def misfit(snapshot: Snapshot, now: Mapping[Place, Extent]) -> str | None:
    """Why a snapshot cannot be gone on from with the topics as they are now; None when it can."""
    for (topic, partition), position in snapshot.positions.items():
        extent, place = now.get((topic, partition)), f"{topic} [{partition}]"
        if extent is None:
            return f"{place} does not exist any more"
        known = snapshot.topic_ids.get(topic, "")
        if known != extent.topic_id:
            return f"topic {topic} has been made anew since: its id was {known!r} and is {extent.topic_id!r}"
        if position > extent.end:
            return f"it is as of offset {position} of {place}, which ends at {extent.end}; messages were lost there"
        if position < extent.first:
            return f"it is as of offset {position} of {place}, which begins at {extent.first} now"
    return None


def starts(snapshot: Snapshot | None, now: Mapping[Place, Extent]) -> dict[Place, int]:
    """From which offset each partition is read, on top of a snapshot or of nothing.

    Raises:
        FaultError: Messages that no snapshot covers are gone from a topic.
    """
    positions = dict.fromkeys(now, 0) if snapshot is None else dict(snapshot.positions)
    for place, extent in now.items():
        if positions.setdefault(place, 0) < extent.first:
            raise FaultError(
                f"{place[0]} [{place[1]}]: expected its messages from offset {positions[place]}, found that it "
                f"begins at {extent.first}: what lay between is gone, and no snapshot covers it. Put the snapshots "
                f"of the blob store's folder {FOLDER}/ back, or make the topic anew and deliver its records again."
            )
    return positions


def _position(path: str) -> int:
    found = _NAME.search(path)
    return int(found.group(1)) if found else -1


def _packed(snapshot: Snapshot) -> bytes:
    notes = {
        "format": FORMAT,
        "positions": [[topic, partition, at] for (topic, partition), at in snapshot.positions.items()],
        "topic_ids": dict(snapshot.topic_ids),
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_NOTES), json.dumps(notes))
        for name, frame in snapshot.frames.items():
            with archive.open(zipfile.ZipInfo(f"{name}.parquet"), "w") as member:
                frame.write_parquet(member, compression="zstd", compression_level=1)
    return data.getvalue()


def _unpacked(data: bytes, path: str) -> Snapshot:
    found = _NAME.search(path)
    digest = hashlib.sha256(data).hexdigest()[:16]
    if found is None or found.group(2) != digest:
        raise _BrokenError(f"expected the digest that its name tells, found {digest}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            notes = json.loads(archive.read(_NOTES))
            if notes["format"] != FORMAT:
                raise _BrokenError(f"expected format {FORMAT}, found {notes['format']}")
            frames = {
                name.removesuffix(".parquet"): pl.read_parquet(io.BytesIO(archive.read(name)))
                for name in archive.namelist()
                if name != _NOTES
            }
    except (zipfile.BadZipFile, KeyError, ValueError, PolarsError) as error:
        raise _BrokenError(f"it cannot be read: {error}") from error
    positions = {(topic, partition): at for topic, partition, at in notes["positions"]}
    return Snapshot(positions, frames, notes["topic_ids"])


class SnapshotTimer:
    """Writes a snapshot from time to time, beside the work.

    Args:
        snapshots: Where they are written.
        every_s: Least time between two, seconds.
    """

    def __init__(self, snapshots: Snapshots, every_s: float) -> None:
        self._snapshots = snapshots
        self._every_s = every_s
        self._last_s = time.monotonic()
        self._position = 0
        self._thread: threading.Thread | None = None

    def restored(self, position: int) -> None:
        """Say how far the state was when it was restored; the sum of its offsets."""
        self._position = position

    def due(self, position: int, now_s: float) -> bool:
        """Whether the state should be written: it has moved, the time has come, and the last one is through."""
        busy = self._thread is not None and self._thread.is_alive()
        return position > self._position and now_s - self._last_s >= self._every_s and not busy

    def write(self, position: int, capture: Callable[[], Snapshot]) -> None:
        """Write a snapshot in a thread.

        Args:
            position: The sum of its offsets.
            capture: Makes it, from what does not change any more; called in the thread.
        """
        self._last_s, self._position = time.monotonic(), position
        self._thread = threading.Thread(target=self._write, args=(capture,), name="snapshot", daemon=True)
        self._thread.start()

    def _write(self, capture: Callable[[], Snapshot]) -> None:
        try:
            self._snapshots.write(capture())
        except HeadraceError as error:
            logger.warning("no snapshot was written: %s; the next one is tried in %g s", error, self._every_s)

    def close(self) -> None:
        """Wait for the snapshot that is being written."""
        if self._thread is not None:
            self._thread.join(CLOSE_S_MAX)
