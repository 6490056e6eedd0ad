"""What the operating system says of a process."""

import os
from pathlib import Path


def peak_rss_mb(pid: int) -> float:
    """The largest resident memory that a process has had, MB of 10⁶ bytes; children are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used so far, in itself and in the kernel."""
    # The name of the program stands in parentheses and may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
