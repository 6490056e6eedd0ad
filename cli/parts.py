"""The parts of the one-machine stack: which there are, how each is started, and how one sees it is ready.

Every part is a `headrace job NAME` process (started as the module behind it, which imports less), so that
what runs here under the supervisor runs anywhere else by the same command.
"""

import http.client
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from infra.kafka import broker_answers
from infra.settings import Settings
from infra.supervised import Part

PROBE_TIMEOUT_S = 2.0

BROKER, REGISTRY, PREFECT = "broker", "registry", "prefect"
SERVERS = (BROKER, REGISTRY, PREFECT)
JOBS: dict[str, tuple[str, ...]] = {
    "ingest-sales": ("ingest", "--lane", "sales"),
    "ingest-master": ("ingest", "--lane", "master"),
    "validate": ("validate",),
    "join": ("join",),
    "sink": ("sink",),
    "report": ("report",),
    "window": ("window",),
    "flows": ("flows",),
    "http": ("http",),
    "inbox": ("inbox",),
}
SCALED = ("validate", "join", "sink", "window")
"""Jobs whose partitions are divided among as many workers as there are."""

WORKERS_MAX = 16
_EXTRA = re.compile(rf"({'|'.join(SCALED)})-(\d+)")


@dataclass(frozen=True, slots=True)
class StackPart:
    """A part of the stack as this installation runs it.

    Args:
        part: The process.
        port: The port it must be able to listen on.
        setting: The variable that moves the port.
        is_ready: Asks the running part whether it takes work; does not raise.
        url: Where a person finds it; empty when there is nothing to see.
    """

    part: Part
    port: int
    setting: str
    is_ready: Callable[[], bool]
    url: str = ""


def workers_of(names: Iterable[str]) -> dict[str, int]:
    """How many workers each job has whose parts have these names."""
    found = Counter(name for name in names if name in SCALED)
    found.update(match[1] for name in names if (match := _EXTRA.fullmatch(name)))
    return dict(found)


def stack_parts(settings: Settings, workers: Mapping[str, int] | None = None) -> list[StackPart]:
    """Name the parts that this installation runs itself, in the order of their start.

    A server that stands elsewhere (HEADRACE_BROKER, HEADRACE_REGISTRY_URL, HEADRACE_PREFECT_URL) is none
    of them; the inbox is one only when it is set.

    Args:
        settings: Of the installation.
        workers: How many workers each job of `SCALED` has; one where none is named. The first is the part of the
            job's name, the others are `JOB-1` and so on.
    """
    ports = settings.ports
    parts: list[StackPart] = []
    if not settings.broker:
        parts.append(
            StackPart(
                _part(BROKER, 1, "broker"),
                ports.broker,
                "HEADRACE_PORTS__BROKER",
                lambda: broker_answers(settings, PROBE_TIMEOUT_S),
            )
        )
    if not settings.registry_url:
        probe = f"{settings.registry}/subjects"
        parts.append(
            StackPart(
                _part(REGISTRY, 2, "registry"),
                ports.registry,
                "HEADRACE_PORTS__REGISTRY",
                lambda: _answers(probe),
            )
        )
    if not settings.prefect_url:
        health = f"{settings.prefect}/api/health"
        parts.append(
            StackPart(
                _part(PREFECT, 2, "prefect"),
                ports.prefect,
                "HEADRACE_PORTS__PREFECT",
                lambda: _answers(health),
                settings.prefect,
            )
        )
    names = [name for name in JOBS if name != "inbox" or settings.ingest.inbox is not None]
    for number, name in enumerate(names):
        port = ports.metrics + number
        command = (*JOBS[name], "--metrics-port", str(port))
        if name == "http":
            page = settings.http_url
            parts.append(
                StackPart(
                    _part(name, 4, *JOBS[name]),
                    ports.http,
                    "HEADRACE_PORTS__HTTP",
                    _probe(f"{page}/readyz"),
                    page,
                )
            )
        else:
            parts.append(_job_part(_part(name, 3, *command), port))
    return parts + [
        _extra_worker(settings, job, number)
        for job in SCALED
        for number in range(1, (workers or {}).get(job, 1))
    ]


def _extra_worker(settings: Settings, job: str, number: int) -> StackPart:
    """A further worker of a job; its port follows from its name, whatever else runs."""
    port = settings.ports.metrics + len(JOBS) + SCALED.index(job) * (WORKERS_MAX - 1) + number - 1
    arguments = (*JOBS[job], "--worker", str(number), "--metrics-port", str(port))
    return _job_part(replace(_part(f"{job}-{number}", 3, *arguments), alone=True), port)


def _job_part(part: Part, port: int) -> StackPart:
    ready = _probe(f"http://127.0.0.1:{port}/metrics", b"\nheadrace_ready 1.0")
    return StackPart(part, port, "HEADRACE_PORTS__METRICS", ready)


def _part(name: str, order: int, *arguments: str) -> Part:
    return Part(name, (sys.executable, "-m", "cli.jobs", *arguments), order)


def _probe(url: str, text: bytes = b"") -> Callable[[], bool]:
    return lambda: _answers(url, text)


def _answers(url: str, text: bytes = b"") -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as answer:
            return answer.status == 200 and text in answer.read()
    # What answers may be no HTTP server, even the question itself: a port that nobody has can be connected with itself.
    except (OSError, http.client.HTTPException):
        return False
