"""`python -m tests.fuzz --inputs 1000000`: damaged files and messages until so many were read.

The readers run in a process of their own; one that ends or hangs is told with its round and started again behind it.
What failed lies in `tests/fuzz/corpus`, to stay there once it is mended. The last line is one JSON object; the exit
code is 0 only if no process ended, nothing escaped and no good record was lost.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from infra.settings import Settings, settings_environment
from tests.fuzz.rounds import INPUTS, MESSAGES
from tests.running import running_broker
from tests.schemas.running import running_registry

CORPUS = Path(__file__).parent / "corpus"
ROUND_S_MAX = 60.0
KEPT_MAX = 20


def main() -> int:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files and messages")
    parser.add_argument("--seed", type=int, default=1, help="decides on every input")
    parser.add_argument("--first-round", type=int, default=0, help="where to begin, to see one round again")
    arguments = parser.parse_args()
    first, rounds = arguments.first_round, -(-arguments.inputs // INPUTS)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder,
        running_broker(Path(folder) / "broker") as broker,
    ):
        with running_registry(broker, Path(folder) / "home") as settings:
            number = first
            while number < first + rounds:
                number = _child(settings, arguments.seed, number, first + rounds, counts)
    told = {
        "inputs": rounds * INPUTS,
        "files": rounds * (INPUTS - MESSAGES),
        "messages": rounds * MESSAGES,
        **{kind: counts[kind] for kind in ("ended", "escaped", "lost")},
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - began),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if counts.total() else 0


def _child(settings: Settings, seed: int, start: int, end: int, counts: Counter[str]) -> int:
    """Run one process as far as it comes; where the next one begins."""
    command = [sys.executable, "-m", "tests.fuzz.child", str(seed), str(start), str(end)]
    # The block decoder's library panics at some damage, which is caught; writing where it did takes most of the time.
    environment = {**os.environ, **settings_environment(settings), "RUST_BACKTRACE": "0"}
    number = followed(command, environment, start, counts)
    if number is None:
        return end
    _tell(f"again: --seed {seed} --first-round {number} --inputs 1")
    return number + 1


def followed(
    command: list[str],
    environment: Mapping[str, str],
    start: int,
    counts: Counter[str],
    quiet_s_max: float = ROUND_S_MAX,
) -> int | None:
    """Follow a process that does rounds.

    Args:
        command: Program and arguments.
        environment: Its variables.
        start: The round that it begins with.
        counts: What failed, by kind; added to.
        quiet_s_max: Longest that it may tell nothing before it is killed, seconds.

    Returns:
        The round that it ended in before its time; None when it came to its end.
    """
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number, watch = start, _Watch(process, quiet_s_max)
        for line in process.stdout:
            watch.progress()
            if line.startswith("{"):
                failure = json.loads(line)
                counts[failure["kind"]] += 1
                _tell(f"round {number}: {failure['kind']} ({failure['target']}): {failure['text']}")
                _keep(failure["target"], bytes.fromhex(failure["data"]), counts.total())
            else:
                number = int(line)
                if number % 1000 == 0:
                    _tell(f"round {number}")
        code = process.wait()
    watch.end()
    if code == 0:
        return None
    counts["ended"] += 1
    _tell(f"round {number}: the process ended with {code}")
    return number


class _Watch:
    """Kills a process that tells nothing for too long."""

    def __init__(self, process: "subprocess.Popen[str]", quiet_s_max: float) -> None:
        self._process, self._quiet_s_max = process, quiet_s_max
        self._told_s, self._ended = time.monotonic(), threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def progress(self) -> None:
        """It told something."""
        self._told_s = time.monotonic()

    def end(self) -> None:
        """It has ended."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            if time.monotonic() - self._told_s > self._quiet_s_max:
                self._process.kill()


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def _keep(target: str, data: bytes, failures: int) -> None:
    if data and failures <= KEPT_MAX:
        CORPUS.mkdir(exist_ok=True)
        (CORPUS / f"{hashlib.sha256(data).hexdigest()[:16]}.{target}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
