"""The parts of the one-machine stack: which there are, how each is started, and how one sees it is ready.

Every part is a `headrace job NAME` process (started as the module behind it, which imports less), so that
what runs here under the supervisor runs anywhere else by the same command.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

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
    "flows": ("flows",),
    "http": ("http",),
    "inbox": ("inbox",),
}


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


def stack_parts(settings: Settings) -> list[StackPart]:
    """Name the parts that this installation runs itself, in the order of their start.

    A server that stands elsewhere (HEADRACE_BROKER, HEADRACE_REGISTRY_URL, HEADRACE_PREFECT_URL) is none
    of them; the inbox is one only when it is set.
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
        metrics = f"http://127.0.0.1:{port}/metrics"
        command = (*JOBS[name], "--metrics-port", str(port))
        if name == "http":
            page = f"http://{settings.http_host}:{ports.http}"
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
            parts.append(
                StackPart(
                    _part(name, 3, *command),
                    port,
                    "HEADRACE_PORTS__METRICS",
                    _probe(metrics, b"\nheadrace_ready 1.0"),
                )
            )
    return parts


def _part(name: str, order: int, *arguments: str) -> Part:
    return Part(name, (sys.executable, "-m", "cli.jobs", *arguments), order)


def _probe(url: str, text: bytes = b"") -> Callable[[], bool]:
    return lambda: _answers(url, text)


def _answers(url: str, text: bytes = b"") -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as answer:
            return answer.status == 200 and text in answer.read()
    except (OSError, urllib.error.URLError):
        return False
