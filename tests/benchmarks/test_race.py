import os
import subprocess
import sys

import pytest

from benchmarks.digests import digest_of, ordered_digest_of
from benchmarks.processes import MemoryWatch, descendants, session_usage
from benchmarks.race import Sample, middle
from tests.running import wait_until


def test_the_rate_is_that_of_the_middle_four_fifths() -> None:
    # A slow start of 5 s and a slow end; between them 100 messages a second at 2 ms of processor time each.
    samples = [
        Sample(0.0, 0, 0.0),
        Sample(5.0, 100, 9.0),
        Sample(7.0, 300, 9.4),
        Sample(13.0, 900, 10.6),
        Sample(20.0, 1000, 11.0),
    ]
    assert middle(samples, 1000) == pytest.approx((100.0, 2000.0))


def test_a_share_that_is_reached_between_two_samples_lies_on_the_line_between_them() -> None:
    assert middle([Sample(0.0, 0, 0.0), Sample(10.0, 1000, 1.0)], 1000) == pytest.approx((100.0, 1000.0))


def test_a_digest_sees_a_lost_a_doubled_and_a_changed_value_and_not_the_order() -> None:
    values = [b"one", b"two", b"three"]
    assert digest_of(values) == digest_of([b"three", b"one", b"two"])
    for other in ([b"one", b"two"], [*values, b"two"], [b"one", b"two", b"threE"], [b"one", b"two", b"two"]):
        assert digest_of(other) != digest_of(values)
    assert ordered_digest_of(values) != ordered_digest_of([b"three", b"one", b"two"])


def test_the_memory_of_a_program_is_that_of_its_children_too() -> None:
    child = "b = b'x' * 150_000_000; print(len(b), flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert session_usage(process.pid).rss_mb > 150
    assert len(descendants(process.pid)) == 1
    assert process.pid in descendants(os.getpid())
    process.communicate(b"\n", timeout=30)


def test_a_watch_keeps_the_memory_of_what_has_ended_meanwhile() -> None:
    child = "b = b'x' * 150_000_000; print(len(b), flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); input()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watch = MemoryWatch(lambda: {"flows": process.pid})
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    wait_until(lambda: watch.peaks.get("flows, started by it", 0.0) > 150, "the memory of the child")
    process.stdin.write(b"\n")
    process.stdin.flush()
    wait_until(lambda: not descendants(process.pid), "the end of the child")
    peaks = watch.close()
    process.communicate(b"\n", timeout=30)
    assert peaks["flows, started by it"] > 150 > peaks["flows"]
