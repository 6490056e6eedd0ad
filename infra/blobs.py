"""The blob store: named objects in a directory or in S3, behind a few verbs.

Guarantee: an object is seen whole or not at all, by every reader, also by those that list the folder with
other programs. Of any number of racing `put_if_absent` of one name exactly one succeeds and the others are
told. Names are relative paths; scratch files lie in `.scratch` beside the tables, never under one. Errors of
the operating system and of S3 come out as errors of `infra.errors` that name the setting to look at.

An `AlreadyExistsError` may be the answer to one's own write whose first answer was lost on the network:
whoever must know compares what lies there.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.errors import (
    AlreadyExistsError,
    FaultError,
    HeadraceError,
    NotCommittedError,
    NotFoundError,
    SettingError,
    UnavailableError,
)
from infra.settings import Settings

SCRATCH = ".scratch"
DATASETS = "datasets"
"""Folder of the lake in which its tables are written anew; see `lake.datasets`."""
SCRATCH_AGE_S_MAX = 24 * 3600.0
_COPY_BYTES = 4 * 2**20
_PART = re.compile(r"^[^/\\\x00-\x1f]{1,255}$")


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a store says of an object without reading it.

    Attributes:
        size_bytes: Length of the object.
        etag: Text that changes when the object's content is replaced; a copy within the store keeps it where
            the server does. Equal etags mean equal content, different ones mean nothing.
    """

    size_bytes: int
    etag: str


class BlobStore(ABC):
    """Objects by name. Every verb may block on the disk or the network, with bounded retries.

    Every verb raises `SettingError` when the store refuses (read only, bad credentials, no such bucket) and
    `UnavailableError` when it does not answer; writes raise the narrower `CommitUnknownError` or
    `NotCommittedError`.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """Folder or URL of the store, for messages."""

    @property
    @abstractmethod
    def storage_options(self) -> dict[str, str]:
        """What Polars' scans need beside `uri`, empty for a directory. It holds secrets: never log it."""

    @abstractmethod
    def make(self) -> None:
        """Make the folder or the bucket of the store, if it is not there."""

    @abstractmethod
    def uri(self, path: str) -> str:
        """The absolute path or URL of an object or folder, for Polars, pyarrow and DuckDB."""

    @abstractmethod
    def put_if_absent(self, path: str, data: bytes) -> None:
        """Write an object that must not exist yet.

        Raises:
            AlreadyExistsError: The object is there already.
        """

    @abstractmethod
    def put_file_if_absent(self, path: str, local_path: Path) -> None:
        """Write a local file as an object that must not exist yet, without holding it in memory.

        A large one goes to S3 in parts, and not every server has one winner then (SeaweedFS lets two that end at once
        both win): for names that follow from the content, or that have one writer.

        Raises:
            AlreadyExistsError: The object is there already.
        """

    @abstractmethod
    def replace(self, path: str, data: bytes) -> None:
        """Write an object, atomically in place of the one that may be there."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Put a copy of `source` atomically in place of what may be at `target`.

        Raises:
            NotFoundError: There is no `source`.
        """

    @abstractmethod
    def copy_if_absent(self, source: str, target: str) -> None:
        """Copy an object to a name that must not exist yet.

        Raises:
            AlreadyExistsError: The target is there already.
            NotFoundError: There is no `source`.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole object.

        Raises:
            NotFoundError: There is no such object.
        """

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """The object as a seekable stream that reads as it goes; close it after use.

        Raises:
            NotFoundError: There is no such object.
        """

    @abstractmethod
    def stat(self, path: str) -> BlobStat | None:
        """Size and etag of an object; None when there is none."""

    @abstractmethod
    def stats(self, prefix: str) -> dict[str, BlobStat]:
        """Size and etag of every object below a folder, by path; one listing, no request for each object."""

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; empty when there is no such folder.

        One whose objects were all deleted may still be among them.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove an object; nothing happens when there is none."""

    def list(self, prefix: str) -> list[str]:
        """Paths of all objects below a folder at any depth, sorted; empty when there is no such folder."""
        return sorted(self.stats(prefix))


def checked_path(path: str, *, folder: bool = False) -> str:
    """A relative path without `..`, empty parts or control characters, as it was given.

    Args:
        path: Path below the store's root, with `/` between its parts.
        folder: Whether an empty path, the root itself, is meant too; a trailing `/` is then cut off.

    Raises:
        FaultError: The path could lead out of the store or names no object.
    """
    if folder:
        path = path.rstrip("/") if path != "/" else path
        if not path:
            return ""
    parts = path.split("/")
    if any(part in (".", "..") or not _PART.match(part) for part in parts) or parts[0] == SCRATCH:
        raise FaultError(
            f"path in the lake: expected a relative one such as 'models/acme/7.skops', found {path!r}"
        )
    return path


def open_store(settings: Settings) -> BlobStore:
    """The store that `HEADRACE_LAKE` names: a folder, or `s3://bucket/prefix`. Connects to nothing yet.

    Raises:
        SettingError: The URL has another scheme or no bucket.
    """
    return _opened(settings.lake_url, settings)


def open_dataset(settings: Settings) -> BlobStore:
    """The store of the tables in use: the lake, or the folder in it that `HEADRACE_DATASET` names.

    Raises:
        SettingError: As in `open_store`.
    """
    folder = f"/{DATASETS}/{settings.dataset}" if settings.dataset else ""
    return _opened(settings.lake_url.rstrip("/") + folder, settings)


def _opened(url: str, settings: Settings) -> BlobStore:
    if url.startswith("s3://"):
        # Importing s3fs takes half a second, and a lake in a directory needs none of it.
        from infra.s3_blobs import S3Store

        return S3Store(url, settings.s3)
    if "://" in url:
        raise SettingError(f"HEADRACE_LAKE: expected a folder or s3://bucket/prefix, found {url!r}")
    return DirectoryStore(Path(url))


class DirectoryStore(BlobStore):
    """Objects as files below one folder of a file system that has hard links."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().resolve()
        self._scratch_ready = False

    @property
    def location(self) -> str:  # noqa: D102 - documented on BlobStore, as the other verbs below.
        return str(self._root)

    @property
    def storage_options(self) -> dict[str, str]:  # noqa: D102
        return {}

    def make(self) -> None:  # noqa: D102
        with self._errors(""):
            self._root.mkdir(parents=True, exist_ok=True)

    def uri(self, path: str) -> str:  # noqa: D102
        path = checked_path(path, folder=True)
        return str(self._root / path) if path else str(self._root)

    def put_if_absent(self, path: str, data: bytes) -> None:  # noqa: D102
        target = self._target(path)
        with self._errors(path), self._scratch_file() as scratch:
            _write_synced(scratch, data)
            _link_synced(scratch, target)

    def put_file_if_absent(self, path: str, local_path: Path) -> None:  # noqa: D102
        target = self._target(path)
        with local_path.open("rb") as source, self._errors(path), self._scratch_file() as scratch:
            with scratch.open("wb") as copy:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
                _sync(copy)
            _link_synced(scratch, target)

    def replace(self, path: str, data: bytes) -> None:  # noqa: D102
        target = self._target(path)
        with self._errors(path), self._scratch_file() as scratch:
            _write_synced(scratch, data)
            _rename_synced(scratch, target)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        origin, goal = self._target(source), self._target(target)
        with self._errors(source), self._scratch_file() as scratch:
            # Two names of one inode: no bytes are copied and the etag stays. No file is written in place.
            os.link(origin, scratch)
            if goal.exists() and goal.samefile(scratch):
                return
            _rename_synced(scratch, goal)

    def copy_if_absent(self, source: str, target: str) -> None:  # noqa: D102
        origin, goal = self._target(source), self._target(target)
        with self._errors(source):
            if not origin.is_file():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(origin))
        with self._errors(target):
            _link_synced(origin, goal)

    def read(self, path: str) -> bytes:  # noqa: D102
        with self._errors(path):
            return self._target(path).read_bytes()

    def open(self, path: str) -> BinaryIO:  # noqa: D102
        with self._errors(path):
            return self._target(path).open("rb")

    def stat(self, path: str) -> BlobStat | None:  # noqa: D102
        with self._errors(path):
            try:
                found = self._target(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _blob_stat(found)

    def stats(self, prefix: str) -> dict[str, BlobStat]:  # noqa: D102
        prefix = checked_path(prefix, folder=True)
        found: dict[str, BlobStat] = {}
        with self._errors(prefix):
            for entry in _files(self._root / prefix, skip=self._root / SCRATCH):
                with contextlib.suppress(FileNotFoundError):  # Deleted between the listing and this look.
                    found[Path(entry.path).relative_to(self._root).as_posix()] = _blob_stat(entry.stat())
        return found

    def folders(self, prefix: str) -> list[str]:  # noqa: D102
        prefix = checked_path(prefix, folder=True)
        with self._errors(prefix):
            try:
                with os.scandir(self._root / prefix) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir() and entry.name != SCRATCH)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, path: str) -> None:  # noqa: D102
        target = self._target(path)
        with self._errors(path):
            target.unlink(missing_ok=True)
            # Other programs take an empty day folder for a partition without rows, and some refuse it.
            if target.parent != self._root:
                with contextlib.suppress(OSError):
                    target.parent.rmdir()

    def _target(self, path: str) -> Path:
        return self._root / checked_path(path)

    @contextlib.contextmanager
    def _scratch_file(self) -> Iterator[Path]:
        folder = self._root / SCRATCH
        if not self._scratch_ready:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(folder)
            self._scratch_ready = True
        scratch = folder / uuid.uuid4().hex
        try:
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Wrap what the operating system says of the object at `path`."""
        try:
            yield
        except FileExistsError as error:
            raise AlreadyExistsError(f"{path} exists already in the lake {self._root}") from error
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFoundError(f"there is no object {path} in the lake {self._root}") from error
        except HeadraceError:
            raise
        except OSError as error:
            raise _wrapped(error, path, self._root) from error


def _wrapped(error: OSError, path: str, root: Path) -> Exception:
    """The error of Headrace for one of the operating system, with what to do."""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return SettingError(
            f"HEADRACE_LAKE: expected a folder that this process may read and write, found that {root} "
            f"refuses {path}: {error.strerror}; give the user the right to it or name another folder"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotCommittedError(
            f"the lake {root} is full, {path} was not written: {error.strerror}; free some space"
        )
    if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP):
        return SettingError(
            f"HEADRACE_LAKE: expected a folder on one file system with hard links, found {root}: "
            f"{error.strerror}"
        )
    if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return SettingError(f"HEADRACE_LAKE: {root} cannot hold {path}: {error.strerror}")
    return UnavailableError(f"the lake {root} did not answer for {path}: {error}")


def _write_synced(scratch: Path, data: bytes) -> None:
    with scratch.open("wb") as file:
        file.write(data)
        _sync(file)


def _sync(file: BinaryIO) -> None:
    """Bring a written file to the disk, with a time of change fine enough to tell two writes apart."""
    file.flush()
    # The kernel's own clock for files moves in steps of milliseconds; the etag needs better.
    now_ns = time.time_ns()
    os.utime(file.fileno(), ns=(now_ns, now_ns))
    os.fsync(file.fileno())


def _link_synced(source: Path, target: Path) -> None:
    """Give `source` a second name that must not exist yet: the one atomic act of a put-if-absent."""
    _with_parent(target, lambda: os.link(source, target))


def _rename_synced(source: Path, target: Path) -> None:
    _with_parent(target, lambda: source.replace(target))


def _with_parent(target: Path, act: Callable[[], object]) -> None:
    """Do `act` in the folder of `target`, made when missing, and bring the folder to the disk."""
    for attempt in range(10):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            act()
            break
        except FileNotFoundError:
            # A delete elsewhere may have removed the empty folder between the two calls.
            if attempt == 9 or target.parent.exists():
                raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _blob_stat(found: os.stat_result) -> BlobStat:
    return BlobStat(found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}")


def _files(folder: Path, skip: Path) -> Iterator["os.DirEntry[str]"]:
    """Every file below a folder; none when the folder is missing or vanishes meanwhile."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry
                elif entry.path != str(skip):
                    yield from _files(Path(entry.path), skip)
    except (FileNotFoundError, NotADirectoryError):
        return


def _remove_old(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote."""
    oldest_s = time.time() - SCRATCH_AGE_S_MAX
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime < oldest_s:
                    Path(entry.path).unlink()
