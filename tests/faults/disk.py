"""A disk of its own that can be full: a file system in memory, whose size shrinks to what is used."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_BYTES = 4 * 2**30
PAGES_BYTES = 16 * 4096


class SmallDisk:
    """A mounted file system.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        _mount(folder, f"size={SIZE_BYTES},mode=700", "-t", "tmpfs", "tmpfs")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave a few pages free at most while the block lasts."""
        for spare in range(20):
            # More may be used by the time the size is set, which is refused then.
            with suppress(subprocess.CalledProcessError):
                used = shutil.disk_usage(self._folder).used
                _mount(self._folder, f"remount,size={used + spare * PAGES_BYTES}")
                break
        else:
            raise AssertionError(f"{self._folder} cannot be made smaller")
        try:
            yield
        finally:
            _mount(self._folder, f"remount,size={SIZE_BYTES}")

    def close(self) -> None:
        """Take it away, with all that is in it."""
        subprocess.run(["umount", "-l", str(self._folder)], check=True)


def cannot_mount() -> str:
    """Why a file system cannot be mounted here; empty if it can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "only root can mount a file system"


def _mount(folder: Path, options: str, *how: str) -> None:
    subprocess.run(["mount", *how, "-o", options, str(folder)], check=True, capture_output=True)
