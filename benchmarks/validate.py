"""Sales judged a second by one validate process, beside ceilings and other stream processors on the same work.

All start on a topic that is filled already, one process each, in turn, several times; the middle four fifths of what
each writes are measured. Checked after every run: each valid sale stands once, with its bytes as they came, in the
topic of the valid sales, and each of the others in that of the refusals; what keeps partitions keeps the order too.
Slow programs get the first part of the same sales.

    python -m benchmarks.validate [--sales N] [--on-kafka] [--only quix,bytewax]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.contestants import (
    JAVA_PEERS,
    PASS_THROUGH,
    PLAIN,
    PYTHON_PEERS,
    UNTRANSACTED,
    VALIDATE,
    Contestant,
)
from benchmarks.digests import (
    Digest,
    check_equal,
    committed_values,
    digest_of,
    ordered_digest_of,
    together,
)
from benchmarks.filled import UNKNOWN_PRODUCT, Retailer, deliver_masters, deliver_sales
from benchmarks.own_stack import own_settings, running_kafka, running_parts
from benchmarks.peers.by_record import Judge, Route
from benchmarks.race import Run, drop_topics, make_topic, raced
from infra.errors import FaultError, HeadraceError, MissingPartError
from infra.kafka import producer
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import SALES_INPUT
from stream_jobs.shadow import make_topics, shadow_outputs

RUN_S_MAX = 600.0
PEER_S_MAX = 240.0
SHORT_INPUT = f"{SALES_INPUT}-short"
LARGE = Retailer(locations=10_000, products=1_000_000)
JOBS = ("ingest-sales", "ingest-master", "report")


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come out of a topic of sales.

    Attributes:
        count: How many sales are in it.
        all: All of them.
        valid: Those that are valid.
        refused: The others.
        in_order: Of each partition the valid ones in their order, for what judges; and all of them, for what does not.
    """

    count: int
    all: Digest
    valid: Digest
    refused: Digest
    in_order: Mapping[bool, Mapping[int, str]]


def expected_of(values: dict[int, list[bytes]]) -> Expected:
    """What must come of these sales: refused are those that name the product that nobody delivered."""
    unknown = UNKNOWN_PRODUCT.encode()
    valid = {number: [one for one in some if unknown not in one] for number, some in values.items()}
    every = together(values)
    return Expected(
        len(every),
        digest_of(every),
        digest_of(together(valid)),
        digest_of([value for value in every if unknown in value]),
        {
            judges: {number: ordered_digest_of(some) for number, some in kept.items()}
            for judges, kept in ((True, valid), (False, values))
        },
    )


class Course:
    """Where contestants run: topics that are filled, and what must come out of them.

    Args:
        settings: Of the stack.
        retailer: Whose sales they are.
        sales: How many.
        short_sales: About how many the slow ones get; none need the shorter topic when it is 0.
    """

    def __init__(self, settings: Settings, retailer: Retailer, sales: int, short_sales: int) -> None:
        self._settings = settings
        self._console = Console(stderr=True)
        self._masters = settings.home / "masters.json"
        self._masters.write_text(
            json.dumps({"locations": retailer.location_ids(), "products": retailer.product_ids()})
        )
        values = committed_values(settings, SALES_INPUT)
        self._expected = {SALES_INPUT: expected_of(values)}
        check_equal("sales in their topic", self._expected[SALES_INPUT].count, sales)
        if short_sales:
            share = short_sales / sales
            short = {number: some[: round(share * len(some))] for number, some in values.items()}
            self._copy_first({number: len(some) for number, some in short.items()})
            self._expected[SHORT_INPUT] = expected_of(short)

    def _copy_first(self, counts: Mapping[int, int]) -> None:
        """Write the first sales of each partition into the same one of the shorter topic."""
        make_topic(self._settings, SHORT_INPUT)
        writer, left = producer(self._settings), dict(counts)
        reader = TopicReader(self._settings, [SALES_INPUT], "benchmark")
        for messages in reader.read_to_end():
            for message in messages:
                partition = message.partition() or 0
                if left[partition]:
                    writer.produce(SHORT_INPUT, message.value(), message.key(), partition)
                    left[partition] -= 1
            writer.flush()
            if not any(left.values()):
                break
        reader.close()

    def run(self, contestant: Contestant, name: str) -> Run:
        """Let one run, and look at what it wrote.

        Args:
            contestant: The program.
            name: Of this run, used once.

        Raises:
            MissingPartError: It cannot be installed here.
            FaultError: It wrote other than it must, or not all of it.
        """
        source = SHORT_INPUT if contestant.is_slow else SALES_INPUT
        expected = self._expected[source]
        outputs = shadow_outputs(name)
        route = Route(
            self._settings.bootstrap_servers, self._settings.registry, str(self._masters), outputs.group, source,
            outputs.validated, outputs.refused,
        )  # fmt: skip
        command = contestant.command(self._settings, route)
        make_topics(self._settings, outputs)
        written = [outputs.validated, outputs.refused]
        log = self._settings.home / f"{contestant.name}.log"
        run_s_max = PEER_S_MAX if contestant in PYTHON_PEERS + JAVA_PEERS else RUN_S_MAX
        try:
            found = raced(self._settings, command, written, expected.count, log, run_s_max)
            self._check(contestant, route, expected)
        finally:
            drop_topics(self._settings, [*written, outputs.tallies])
        self._console.print(f"{contestant.name}: {found.per_s:,.0f} sales/s, {found.cpu_us:.2f} µs each")
        return found

    def _check(self, contestant: Contestant, route: Route, expected: Expected) -> None:
        valid = committed_values(self._settings, route.valid)
        refused = together(committed_values(self._settings, route.refused))
        if contestant.refuses_with_reasons:
            judge = Judge.without_masters(route.registry)
            refused = [judge.sale(value)["original"] for value in refused]
        what = f"{contestant.name}: the valid sales"
        check_equal(what, digest_of(together(valid)), expected.valid if contestant.judges else expected.all)
        nothing = digest_of([])
        check_equal(
            f"{contestant.name}: the refused sales",
            digest_of(refused),
            expected.refused if contestant.judges else nothing,
        )
        if contestant.keeps_partitions:
            found = {number: ordered_digest_of(some) for number, some in valid.items()}
            check_equal(f"{what} in their order", found, expected.in_order[contestant.judges])


def run(
    course: Course, contestants: Sequence[Contestant], runs: int
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Let all run, in turn.

    Args:
        course: Where.
        contestants: Who. The first one is ours, and must come through.
        runs: How often each.

    Returns:
        The runs of each by name, and for each that did not come through why.
    """
    found: dict[str, list[Run]] = {}
    not_run: dict[str, str] = {}
    for number in range(runs):
        for contestant in contestants:
            if contestant.name in not_run:
                continue
            try:
                name = f"{contestant.name.replace('_', '-')}-{number}"
                found.setdefault(contestant.name, []).append(course.run(contestant, name))
            except (MissingPartError, FaultError) as error:
                if contestant not in PYTHON_PEERS + JAVA_PEERS:
                    raise
                found.pop(contestant.name, None)
                not_run[contestant.name] = str(error)
    return found, not_run


def figures(found: Mapping[str, Sequence[Run]], not_run: Mapping[str, str]) -> dict[str, object]:
    """Medians, and the ratios of rates that were measured one after the other."""
    rates = {name: round(statistics.median(one.per_s for one in some)) for name, some in found.items()}
    ours = found[VALIDATE.name]

    def of(name: str) -> float | None:
        """Our rate as a share of another's."""
        pairs = zip(ours, found.get(name, ()), strict=False)
        shares = [one.per_s / other.per_s for one, other in pairs]
        return round(statistics.median(shares), 3) if shares else None

    python_peers = [of(peer.name) for peer in PYTHON_PEERS if peer.name in found]
    return {
        "sales_per_s": rates[VALIDATE.name],
        "cpu_us_per_sale": round(statistics.median(one.cpu_us for one in ours), 2),
        "rss_mb": round(max(one.rss_mb for one in ours)),
        "of_pass_through": of(PASS_THROUGH.name),
        "of_plain": of(PLAIN.name),
        "of_untransacted": of(UNTRANSACTED.name),
        "vs_best_python": min((share for share in python_peers if share), default=None),
        "vs_kafka_streams": of(JAVA_PEERS[0].name),
        **{f"{name}_per_s": rate for name, rate in rates.items() if name != VALIDATE.name},
        "cpu_us": {name: round(statistics.median(r.cpu_us for r in some), 2) for name, some in found.items()},
        "all_per_s": {name: [round(one.per_s) for one in some] for name, some in found.items()},
        "not_run": dict(not_run),
    }


def chosen(only: Sequence[str], *, on_kafka: bool) -> list[Contestant]:
    """Validate, and whoever else is asked for and can run on the broker."""
    others = (UNTRANSACTED, PASS_THROUGH, PLAIN, *PYTHON_PEERS, *(JAVA_PEERS if on_kafka else ()))
    return [VALIDATE, *(one for one in others if not only or one.name in only)]


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=2_000_000)
    parser.add_argument("--short-sales", type=int, default=200_000, help="sales of the slow contestants")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--on-kafka", action="store_true", help="on Apache Kafka, Kafka Streams among the contestants"
    )
    parser.add_argument("--only", default="", help="names of contestants beside validate, with commas")
    parser.add_argument("--without-large", action="store_true", help="leave out the million products")
    arguments = parser.parse_args()
    contestants = chosen([name for name in arguments.only.split(",") if name], on_kafka=arguments.on_kafka)
    short = arguments.short_sales if any(one.is_slow for one in contestants) else 0
    with stack(Retailer(), arguments.sales, on_kafka=arguments.on_kafka) as settings:
        course = Course(settings, Retailer(), arguments.sales, short)
        result = figures(*run(course, contestants, arguments.runs))
    if not arguments.without_large:
        with stack(LARGE, arguments.sales, on_kafka=arguments.on_kafka) as settings:
            course = Course(settings, LARGE, arguments.sales, 0)
            large = figures(*run(course, [VALIDATE], arguments.runs))
        result |= {
            "large_sales_per_s": large["sales_per_s"],
            "of_small": round(float(str(large["sales_per_s"])) / float(str(result["sales_per_s"])), 3),
            "large_rss_mb": large["rss_mb"],
        }
    print(json.dumps(result | {"sales": arguments.sales, "short_sales": short, "runs": arguments.runs}))


@contextmanager
def stack(retailer: Retailer, sales: int, *, on_kafka: bool) -> Iterator[Settings]:
    """A stack of which nothing runs but the servers, with a retailer's sales in `sales-input`."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="headrace-validate-")))
        if on_kafka:
            running.enter_context(running_kafka(folder))
        settings = own_settings(folder)
        supervisor = running.enter_context(running_parts(settings, JOBS))
        deliver_masters(settings, retailer)
        deliver_sales(settings, retailer, sales)
        for job in JOBS:
            supervisor.stop_part(job)
        yield settings


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.validate: {error}")
