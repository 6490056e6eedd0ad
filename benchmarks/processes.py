"""What the operating system says of a process."""

from pathlib import Path


def peak_rss_mb(pid: int) -> float:
    """The largest resident memory that a process has had, MB of 10⁶ bytes; children are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0
