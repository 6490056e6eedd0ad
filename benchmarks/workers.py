"""Several workers of one stream job, in processes of their own, as a supervisor would start them.

    python -m benchmarks.workers COUNT JOB [ARGUMENT ...]

They end with this process, after SIGTERM; when one ends by itself, all do.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start them and wait."""
    count, job = int(sys.argv[1]), sys.argv[2:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cli.jobs", *job],
            env={**os.environ, "HEADRACE_STREAM__WORKER": str(number)},
        )
        for number in range(count)
    ]
    while not stop.wait(0.2) and all(process.poll() is None for process in processes):
        pass
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    if not stop.is_set():
        sys.exit(1)


if __name__ == "__main__":
    main()
