"""One program that works from topic to topic: how fast it is, and what it costs.

The rate is that of the middle four fifths of what it writes, by the ends of the topics written to; so neither its start
nor its end is in it, and every program is measured by the same clock, whatever it says of itself.
"""

import bisect
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from benchmarks.processes import Usage, session_usage
from infra.errors import FaultError, UnavailableError
from infra.extents import ANSWER_S_MAX, end_offsets
from infra.kafka import admin
from infra.settings import Settings

SAMPLE_S = 0.1
QUIET_S = 1.5
"""So long after its last message a program is taken to have written, and committed, all."""

STOP_S_MAX = 30.0
MIDDLE = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment.

    Attributes:
        at_s: The moment, of a clock that only rises.
        written: Messages written by then.
        cpu_s: Processor time used by then.
    """

    at_s: float
    written: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """What a program did.

    Attributes:
        per_s: Messages a second.
        cpu_us: Processor time for each message, microseconds.
        rss_mb: Most memory, MB.
    """

    per_s: float
    cpu_us: float
    rss_mb: float


def middle(samples: Sequence[Sample], messages: int) -> tuple[float, float]:
    """Messages a second, and microseconds of processor time for each, between the first and the last tenth.

    Args:
        samples: In the order of time; the last one has all messages.
        messages: How many there are.
    """
    (begin_s, begin_cpu), (end_s, end_cpu) = (_reached(samples, share * messages) for share in MIDDLE)
    count = (MIDDLE[1] - MIDDLE[0]) * messages
    return count / (end_s - begin_s), (end_cpu - begin_cpu) / count * 1e6


def _reached(samples: Sequence[Sample], written: float) -> tuple[float, float]:
    """When so much was written, and the processor time by then, on a line between two samples."""
    place = bisect.bisect_left(samples, written, key=lambda sample: sample.written)
    after, before = samples[place], samples[max(place - 1, 0)]
    if after.written == before.written:
        return after.at_s, after.cpu_s
    part = (written - before.written) / (after.written - before.written)
    return (
        before.at_s + part * (after.at_s - before.at_s),
        before.cpu_s + part * (after.cpu_s - before.cpu_s),
    )


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, which is ended with all that it has started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_S_MAX)


def raced(
    settings: Settings,
    command: Sequence[str],
    topics: Sequence[str],
    messages: int,
    log: Path,
    run_s_max: float,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Let a program run until it has written so many messages into empty topics.

    Args:
        settings: Where the brokers are.
        command: The program.
        topics: Where it writes, all partitions counted together.
        messages: How many it writes.
        log: Where its output goes.
        run_s_max: Longest time it may take.
        environment: Further variables for it.

    Raises:
        FaultError: It ended before, or took longer; the text ends with what it said last.
    """
    client = admin(settings)
    with running(command, environment or {}, log) as process:
        samples, usage, places = [Sample(time.monotonic(), 0, 0.0)], Usage(0, 0), list[TopicPartition]()
        deadline, changed_s = time.monotonic() + run_s_max, time.monotonic()
        while samples[-1].written < messages or time.monotonic() - changed_s < QUIET_S:
            if process.poll() is not None or time.monotonic() > deadline:
                why = (
                    f"ended with {process.returncode}" if process.returncode is not None else "took too long"
                )
                raise FaultError(
                    f"{' '.join(command[:4])} … {why} after {samples[-1].written} of {messages} messages in "
                    f"{topics}; it said last:\n{_last_words(log)}"
                )
            time.sleep(SAMPLE_S)
            usage = session_usage(process.pid)
            try:
                places = places or _places(settings, topics)
                written = sum(end_offsets(client, places).values())
            except UnavailableError:
                continue  # A topic that was made just now may have no leader yet.
            if written != samples[-1].written:
                changed_s = time.monotonic()
                samples.append(Sample(changed_s, written, usage.cpu_s))
    per_s, cpu_us = middle(samples, messages)
    return Run(per_s, cpu_us, usage.rss_mb)


def _places(settings: Settings, topics: Sequence[str]) -> list[TopicPartition]:
    """The partitions of topics; none while one of them is not there yet."""
    known = admin(settings).list_topics(timeout=ANSWER_S_MAX).topics
    if not all(topic in known for topic in topics):
        return []
    return [TopicPartition(topic, number) for topic in topics for number in known[topic].partitions]


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-12:])


def make_topic(settings: Settings, name: str) -> None:
    """Create a topic with as many partitions as the sales have."""
    client = admin(settings)
    topic = NewTopic(name, settings.sales_partitions, settings.replication)
    client.create_topics([topic])[name].result(ANSWER_S_MAX)


def drop_topics(settings: Settings, names: Sequence[str]) -> None:
    """Remove topics, and what they hold."""
    client = admin(settings)
    for future in client.delete_topics(list(names)).values():
        future.result(ANSWER_S_MAX)
