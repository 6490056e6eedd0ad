"""Sales judged a second by one validate process, beside a program that hands the same messages on unseen.

Both start on a topic that is filled already and end when all of it is through; both run in turn, several times.
The rate is that after the first transaction, so starting is not in it. Checked: each sale has one verdict, and
the refused are those that name an unknown product.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from benchmarks.filled import Retailer, deliver_masters, deliver_sales
from benchmarks.own_stack import await_true, own_settings, running_parts
from benchmarks.processes import cpu_s, peak_rss_mb
from infra.errors import FaultError
from infra.kafka import admin
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.shadow import make_topics, shadow_outputs

RUN_S_MAX = 600.0


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=2_000_000)
    parser.add_argument("--locations", type=int, default=10)
    parser.add_argument("--products", type=int, default=3_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    retailer = Retailer(arguments.locations, arguments.products)
    with tempfile.TemporaryDirectory(prefix="headrace-validate-") as folder:
        settings = own_settings(Path(folder))
        with running_parts(settings, ["ingest-sales", "ingest-master", "report"]) as supervisor:
            deliver_masters(settings, retailer)
            deliver_sales(settings, retailer, arguments.sales)
            for job in ("ingest-sales", "ingest-master", "report"):
                supervisor.stop_part(job)
            print(json.dumps(run(settings, arguments.sales, arguments.runs) | vars(arguments)))


def run(settings: Settings, sales: int, runs: int) -> dict[str, object]:
    """Let both handle the same sales, in turn."""
    judged, passed, cpu, rss = [], [], [], []
    for number in range(runs):
        found = _judge(settings, sales, f"bench-{number}")
        judged.append(found["per_s"])
        cpu.append(found["cpu_s"])
        rss.append(found["rss_mb"])
        passed.append(_pass_through(settings, sales, f"bench-passed-{number}"))
    of = [one / other for one, other in zip(judged, passed, strict=True)]
    return {
        "sales_per_s": round(statistics.median(judged)),
        "pass_through_per_s": round(statistics.median(passed)),
        "of_pass_through": round(statistics.median(of), 3),
        "cpu_us_per_sale": round(statistics.median(cpu) / sales * 1e6, 2),
        "rss_mb": max(rss),
        "all_sales_per_s": [round(one) for one in judged],
        "all_pass_through_per_s": [round(one) for one in passed],
    }


def _judge(settings: Settings, sales: int, name: str) -> dict[str, float]:
    """Judge all sales as a shadow, which is validate with topics of its own."""
    outputs = shadow_outputs(name)
    make_topics(settings, outputs)
    command = [sys.executable, "-m", "cli.jobs", "validate", "--shadow", name]
    registry = Registry(settings)
    codec, reader = Codec("DeliveryTally", registry), TopicReader(settings, [outputs.tallies], "bench")
    tallies: list[dict[str, object]] = []

    def all_judged() -> bool:
        tallies.extend(codec.decode_record(message.value()) for message in reader.poll())
        return sum(int(str(one["valid"])) + int(str(one["invalid"])) for one in tallies) >= sales

    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_true(all_judged, "verdicts on all sales", RUN_S_MAX)
        used, peak = cpu_s(process.pid), peak_rss_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        reader.close()
        registry.close()
    return {"per_s": _rate(tallies, sales), "cpu_s": used, "rss_mb": peak}


def _rate(tallies: list[dict[str, object]], sales: int) -> float:
    """Sales a second after the first transaction."""
    by_time: dict[datetime, int] = {}
    for one in tallies:
        at = one["at"]
        assert isinstance(at, datetime)
        by_time[at] = by_time.get(at, 0) + int(str(one["valid"])) + int(str(one["invalid"]))
    if sum(by_time.values()) != sales:
        raise FaultError(f"expected one verdict for each of {sales} sales, found {sum(by_time.values())}")
    refused = sum(int(str(one["invalid"])) for one in tallies)
    if not 0.005 * sales < refused < 0.015 * sales:
        raise FaultError(f"expected about one sale in a hundred to be refused, found {refused} of {sales}")
    first, last = min(by_time), max(by_time)
    return (sales - by_time[first]) / (last - first).total_seconds()


def _pass_through(settings: Settings, sales: int, target: str) -> float:
    client = admin(settings)
    client.create_topics([NewTopic(target, settings.sales_partitions, 1)])[target].result(30)
    command = [sys.executable, "-m", "benchmarks.pass_through", target, str(sales)]
    done = subprocess.run(
        command, env=os.environ, stdout=subprocess.PIPE, text=True, check=True, timeout=RUN_S_MAX
    )
    time.sleep(1)
    return float(json.loads(done.stdout.splitlines()[-1])["per_s"])


if __name__ == "__main__":
    main()
