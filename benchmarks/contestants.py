"""The programs that do validate's work, or less: ours, two ceilings, and other stream processors.

A peer in Python runs in a virtual environment that is made on first use in the cache folder, from the pinned
`benchmarks/peers/NAME.txt`; Kafka Streams runs on the machine's JDK with jars from Maven Central.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.peers.by_record import Route
from infra.servers.installing import installed, program, run
from infra.settings import Settings

PEERS = Path(__file__).parent / "peers"
STREAMS = PEERS / "kafka_streams"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that works from `sales-input` to topics of its own.

    Attributes:
        name: Its name in the figures.
        command: The command that runs it on a route; a peer is installed by it if it is not there.
        judges: Whether it tells valid sales from others; a ceiling hands all on.
        is_slow: Whether it gets the shorter topic, so that a run takes seconds and not minutes.
        refuses_with_reasons: Whether its refusals are SaleErrors, in which the bytes as they came are one field.
        keeps_partitions: Whether each sale goes to the partition that it came from, in order.
    """

    name: str
    command: Callable[[Settings, Route], list[str]]
    judges: bool = True
    is_slow: bool = False
    refuses_with_reasons: bool = False
    keeps_partitions: bool = False


def workers(count: int) -> Contestant:
    """Validate in so many processes of one group."""
    return Contestant(
        f"validate-{count}",
        lambda settings, route: [
            sys.executable, "-m", "benchmarks.workers", str(count), *VALIDATE.command(settings, route)[3:]
        ],
        refuses_with_reasons=True,
        keeps_partitions=True,
    )  # fmt: skip


def peer_python(settings: Settings, name: str) -> str:
    """The Python of a peer's own virtual environment, made on first use.

    Raises:
        MissingPartError: What is pinned for it cannot be installed here; the text ends with the reason.
    """
    pins = PEERS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]

    def install(folder: Path) -> None:
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(pins)])

    return str(installed(settings.cache / "peers" / f"{name}-{digest}", install) / "bin" / "python")


def streams_jars(settings: Settings) -> Path:
    """The folder of the jars of Kafka Streams, installed on first use.

    Raises:
        MissingPartError: There is no Maven, or it cannot get them.
    """
    pom = STREAMS / "pom.xml"

    def install(folder: Path) -> None:
        maven = program("mvn", "to get Kafka Streams from Maven Central (Debian: apt install maven)")
        run(
            [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        )

    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    return installed(settings.cache / "peers" / f"kafka-streams-{digest}", install)


def _validate(module: str) -> Callable[[Settings, Route], list[str]]:
    # The topics of a shadow are named by it, and so is its group.
    return lambda _, route: [
        sys.executable, "-m", module, "validate", "--shadow", route.group.removeprefix("shadow-")
    ]  # fmt: skip


def _peer(name: str) -> Callable[[Settings, Route], list[str]]:
    return lambda settings, route: [
        peer_python(settings, name), str(PEERS / f"{name}.py"), json.dumps(asdict(route))
    ]  # fmt: skip


def _streams(guarantee: str) -> Callable[[Settings, Route], list[str]]:
    def command(settings: Settings, route: Route) -> list[str]:
        java = program("java", "a JDK of 17 or newer, to run Kafka Streams")
        source = str(STREAMS / "ValidateStreams.java")
        words = [
            route.broker,
            route.registry,
            route.group,
            route.input,
            route.valid,
            route.refused,
            guarantee,
        ]
        return [java, "-Xmx1g", "-cp", f"{streams_jars(settings)}/*", source, *words]

    return command


VALIDATE = Contestant("validate", _validate("cli.jobs"), refuses_with_reasons=True, keeps_partitions=True)
UNTRANSACTED = Contestant(
    "untransacted", _validate("benchmarks.untransacted"), refuses_with_reasons=True, keeps_partitions=True
)
PASS_THROUGH = Contestant(
    "pass_through",
    lambda _, route: [sys.executable, "-m", "benchmarks.pass_through", route.valid],
    judges=False,
    keeps_partitions=True,
)
PLAIN = Contestant(
    "plain",
    lambda _, route: [sys.executable, str(PEERS / "plain.py"), json.dumps(asdict(route))],
    judges=False,
)
PYTHON_PEERS = (
    Contestant("quix", _peer("quix_app"), is_slow=True),
    Contestant("bytewax", _peer("bytewax_flow"), is_slow=True),
    Contestant("faust", _peer("faust_app"), is_slow=True),
    Contestant("pathway", _peer("pathway_table"), is_slow=True),
)
JAVA_PEERS = (
    Contestant("kafka_streams", _streams("exactly_once_v2")),
    Contestant("kafka_streams_at_least_once", _streams("at_least_once")),
)
