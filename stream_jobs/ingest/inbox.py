"""The inbox: files that are put into a folder are delivered.

`INBOX/CUSTOMER/FILE` is accepted, and then moved to `INBOX/CUSTOMER/.accepted/`, its delivery id before its
name; a refused one goes to `.refused/`, with a text file beside it that says why. Guarantee: a file is taken
only when it has rested, its size and time unchanged, from one look to the next; it is moved only after its
fate is certain, so that one which a crash left behind is taken again and recognised.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra import telemetry
from infra.blobs import BlobStore
from infra.errors import DeliveryError, SettingError, UnavailableError
from infra.settings import Settings
from stream_jobs.ingest.accept import Desk

logger = logging.getLogger(__name__)

ACCEPTED = ".accepted"
REFUSED = ".refused"


@dataclass(frozen=True, slots=True)
class Look:
    """What a file looked like: if it looks so again it has rested."""

    size_bytes: int
    changed_ns: int


def run_inbox(settings: Settings, store: BlobStore, desk: Desk, stop: threading.Event) -> None:
    """Watch the inbox until told to stop.

    Args:
        settings: Which folder, and how often to look.
        store: Where the desk keeps what it accepts; told when the job starts.
        desk: Accepts the files.
        stop: Ends the job between two files.

    Raises:
        SettingError: There is no inbox in the settings, or it cannot be read.
    """
    inbox = settings.ingest.inbox
    if inbox is None:
        raise SettingError("HEADRACE_INGEST__INBOX: expected the folder to watch; found none")
    logger.info("inbox %s: files go to %s", inbox, store.location)
    before: Mapping[Path, Look] = {}
    telemetry.ready.set(1)
    try:
        while not stop.is_set():
            now = looks(inbox)
            for path in rested(before, now):
                if stop.is_set():
                    return
                _take(path, desk)
            before = now
            stop.wait(settings.ingest.inbox_poll_s)
    finally:
        telemetry.ready.set(0)


def looks(inbox: Path) -> dict[Path, Look]:
    """The files in the customers' folders as they look now; hidden ones and links are none.

    Raises:
        SettingError: The inbox cannot be read.
    """
    found = {}
    try:
        folders = [entry for entry in inbox.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        for folder in folders:
            for path in folder.iterdir():
                if path.name.startswith(".") or path.is_symlink() or not path.is_file():
                    continue
                state = path.stat()
                found[path] = Look(state.st_size, state.st_mtime_ns)
    except FileNotFoundError as error:
        if not inbox.is_dir():
            raise SettingError(
                f"HEADRACE_INGEST__INBOX: expected a folder; there is none at {inbox}"
            ) from error
        # A file was taken away between two glances; the next look shows the rest.
        return found
    except OSError as error:
        raise SettingError(f"HEADRACE_INGEST__INBOX: {inbox} cannot be read: {error.strerror}") from error
    return found


def rested(before: Mapping[Path, Look], now: Mapping[Path, Look]) -> list[Path]:
    """The files that look as they did, the oldest first."""
    same = [path for path, look in now.items() if before.get(path) == look]
    return sorted(same, key=lambda path: (now[path].changed_ns, path.name))


def _take(path: Path, desk: Desk) -> None:
    try:
        with path.open("rb") as file:
            receipt = desk.accept(path.parent.name, None, path.name, file)
        _move(path, ACCEPTED, f"{receipt.delivery_id}-{path.name}")
    except DeliveryError as error:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{stamp}-{path.name}"
        logger.warning("%s: refused: %s", path, error)
        try:
            folder = path.with_name(REFUSED)
            folder.mkdir(exist_ok=True)
            folder.joinpath(f"{name}.reason.txt").write_text(f"{error}\n", encoding="utf-8")
            _move(path, REFUSED, name)
        except OSError as trouble:
            logger.warning("%s: cannot be moved to %s: %s", path, REFUSED, trouble.strerror)
    except UnavailableError as error:
        logger.warning("%s: stays until it can be accepted: %s", path, error)
    except OSError as error:
        logger.warning(
            "%s: cannot be read or moved, give this process the right to: %s", path, error.strerror
        )


def _move(path: Path, folder: str, name: str) -> None:
    target = path.with_name(folder)
    target.mkdir(exist_ok=True)
    path.replace(target / name)
