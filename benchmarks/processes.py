"""What the operating system says of processes."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

WATCH_S = 0.5
"""Time between two looks at the memory of processes; each has kept its own peak."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes have used.

    Attributes:
        cpu_s: Seconds of processor time so far, in themselves and in the kernel.
        rss_mb: The sum of the largest resident memory that each has had, MB of 10⁶ bytes.
    """

    cpu_s: float
    rss_mb: float


def peak_rss_mb(pid: int) -> float:
    """The largest resident memory that a process has had, MB of 10⁶ bytes; children are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used so far; of its children those that have ended."""
    return sum(int(ticks) for ticks in _fields(pid)[11:15]) / os.sysconf("SC_CLK_TCK")


def session_usage(leader: int) -> Usage:
    """What the processes of a session use, the children of the one that began it among them."""
    cpu, rss = 0.0, 0.0
    for pid in _numbers():
        try:
            if int(_fields(pid)[3]) == leader:
                cpu += cpu_s(pid)
                rss += peak_rss_mb(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended meanwhile.
    return Usage(cpu, rss)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, those of these too, and so on."""
    parents: dict[int, int] = {}
    for number in _numbers():
        try:
            parents[number] = int(_fields(number)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, last = [], [pid]
    while last:
        last = [child for child, parent in parents.items() if parent in last]
        found += last
    return found


class MemoryWatch:
    """Follows the memory of some processes and of all that they start, until it is closed.

    Args:
        roots: Gives the processes by name, whenever it is asked; they may change.

    Attributes:
        peaks: The most memory by name, MB; what a process has started stands under a name of its own.
    """

    def __init__(self, roots: Callable[[], Mapping[str, int]]) -> None:
        self._roots = roots
        self.peaks: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> dict[str, float]:
        """Look once more, and end; the peaks."""
        self._stop.set()
        self._thread.join()
        self._look()
        return self.peaks

    def _follow(self) -> None:
        while not self._stop.wait(WATCH_S):
            self._look()

    def _look(self) -> None:
        for name, root in self._roots().items():
            for pid in (root, *descendants(root)):
                shown = name if pid == root else f"{name}, started by it"
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    self.peaks[shown] = max(self.peaks.get(shown, 0.0), peak_rss_mb(pid))


def _numbers() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def _fields(pid: int) -> list[str]:
    """The fields of a process's `stat` after its name, which stands in parentheses and may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
