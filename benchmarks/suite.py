"""Runs benchmarks one after the other, and keeps what they print.

    python -m benchmarks.suite [NAME ...]

Each runs in a process of its own. Its last line is one JSON object, which goes to `benchmarks/results.json` with the
machine and the day, and from there into the tables of `benchmarks/README.md`. One that fails leaves its old figures
and does not stop the others; the exit code is then 1.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.tables import record
from infra.settings import load_settings

SUITE: Mapping[str, Sequence[str]] = {
    "validate": ("benchmarks.validate",),
    "validate-kafka": ("benchmarks.validate", "--on-kafka"),
    "join": ("benchmarks.join",),
    "ingest": ("benchmarks.ingest",),
    "codec": ("benchmarks.codec",),
    "scale": ("benchmarks.scale",),
    "serve": ("benchmarks.serve",),
    "restore": ("benchmarks.restore",),
    "channel": ("benchmarks.channel",),
    "m5": ("benchmarks.m5_accuracy",),
}
"""The module of each benchmark, and its arguments."""

NEED_DATA = frozenset({"channel", "m5"})


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="which; all without any")
    names = parser.parse_args().names or list(SUITE)
    if unknown := [name for name in names if name not in SUITE]:
        raise SystemExit(f"expected names among {', '.join(SUITE)}; found {', '.join(unknown)}")
    console = Console(stderr=True)
    failed = []
    for name in names:
        if name in NEED_DATA and load_settings().data is None:
            console.print(f"{name}: left out, it needs HEADRACE_DATA")
            continue
        console.rule(name)
        done = subprocess.run(
            [sys.executable, "-m", *SUITE[name]], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            failed.append(name)
            console.print(f"{name}: ended with {done.returncode}")
            continue
        figures = done.stdout.splitlines()[-1]
        print(figures, flush=True)
        record(name, machine(), json.loads(figures))
    if failed:
        sys.exit(f"benchmarks.suite: {', '.join(failed)} failed; what is written of them is older")


if __name__ == "__main__":
    main()
