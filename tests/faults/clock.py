"""A clock for one process that can be stepped: a small library in C that stands before the machine's."""

import mmap
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def built_clock(folder: Path) -> Path:
    """The library, compiled into a folder."""
    library = folder / "clock.so"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"],
        check=True,
    )
    return library


def no_compiler() -> str:
    """Why no clock can be built here; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "clocks can be stepped on Linux only"
    return "" if shutil.which("cc") else "there is no C compiler (Debian: apt install gcc libc6-dev)"


class StepClock:
    """The clock of a process that is started with its variables.

    Args:
        library: What `built_clock` made.
        path: File that holds how far it is ahead.
    """

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(path)}
        with path.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 8)

    @contextmanager
    def ahead(self, seconds: float) -> Iterator[None]:
        """Step it, back if negative, and back again at the end of the block."""
        self._step(seconds)
        try:
            yield
        finally:
            self._step(0)

    def _step(self, seconds: float) -> None:
        self._ahead[:] = struct.pack("=q", int(seconds * 1e9))
