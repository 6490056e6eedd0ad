"""Files of sales → `sales-input`: how fast the ingest job reads XML, CSV and JSON Lines, and in how much memory.

The same number of sales in each format, delivered one file after the other to one running process; the rate is that
of the middle four fifths of the messages. The ceilings are expat without any handler for XML, and Polars' reader for
CSV, on the same files. Then one large XML file, for the memory. Checked: the messages, read with fastavro, are the
sales of the file.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from xml.parsers import expat

import polars as pl
from confluent_kafka import TopicPartition
from rich.console import Console

from benchmarks.digests import check_equal, rows_digest, together, values_from
from benchmarks.filled import CUSTOMER, Retailer, sales_frame
from benchmarks.own_stack import own_settings, running_parts
from benchmarks.peers.by_record import Judge
from benchmarks.processes import cpu_s, peak_rss_mb
from benchmarks.race import SAMPLE_S, Sample, middle
from cli.delivery_files import write_delivery
from infra.blobs import open_store
from infra.errors import FaultError, HeadraceError
from infra.extents import end_offsets
from infra.kafka import admin
from infra.settings import Settings
from schemas.catalogue import SALES_INPUT
from stream_jobs.ingest.accept import Desk

JOB = "ingest-sales"
FORMATS = ("xml", "csv", "jsonl")
XML_BYTES_A_SALE = 145
READ_S_MAX = 3600.0
COLUMNS = ("sale_id", "location_id", "product_id", "sold_at", "quantity", "unit_price")


def delivered(settings: Settings, desk: Desk, path: Path, sales: int, pid: int) -> float:
    """Deliver a file to the running job; sales a second.

    Raises:
        FaultError: Its sales did not come in time.
    """
    client = admin(settings)
    places = [TopicPartition(SALES_INPUT, number) for number in range(settings.sales_partitions)]
    before = sum(end_offsets(client, places).values())
    with path.open("rb") as file:
        desk.accept(CUSTOMER, "sales", path.name, file)
    samples = [Sample(time.monotonic(), 0, cpu_s(pid))]
    deadline = time.monotonic() + READ_S_MAX
    while samples[-1].written < sales:
        if time.monotonic() > deadline:
            raise FaultError(f"{path.name}: {samples[-1].written} of {sales} sales came in {READ_S_MAX:g} s")
        time.sleep(SAMPLE_S)
        written = sum(end_offsets(client, places).values()) - before
        samples.append(Sample(time.monotonic(), written, cpu_s(pid)))
    return middle(samples, sales)[0]


def check_messages(settings: Settings, starts: Mapping[tuple[str, int], int], expected: pl.DataFrame) -> None:
    """Compare the messages behind some offsets with the sales of a file.

    Raises:
        FaultError: They differ.
    """
    judge = Judge.without_masters(settings.registry)
    values = together(values_from(settings, SALES_INPUT, starts))
    rows = [{name: sale[name] for name in COLUMNS} for sale in map(judge.sale, values)]
    check_equal("messages", len(rows), expected.height)
    check_equal(
        "sales in the messages", rows_digest(pl.DataFrame(rows), COLUMNS), rows_digest(expected, COLUMNS)
    )


def expat_s(path: Path) -> float:
    """Seconds of expat without handlers on a file."""
    began = time.monotonic()
    with path.open("rb") as file:
        expat.ParserCreate().ParseFile(file)
    return time.monotonic() - began


def polars_s(path: Path) -> float:
    """Seconds of Polars' CSV reader on a file."""
    began = time.monotonic()
    pl.read_csv(path)
    return time.monotonic() - began


def figures(
    rates: Mapping[str, Sequence[float]],
    bytes_a_sale: Mapping[str, float],
    ceilings: Mapping[str, Sequence[float]],
    rss: Mapping[str, float],
) -> dict[str, object]:
    """Medians by format.

    Args:
        rates: Sales a second, by format.
        bytes_a_sale: Length of a file by its sales, by format.
        ceilings: MB a second of expat and of Polars.
        rss: Most memory of the job by then, MB, by format, and with the large file.
    """
    found: dict[str, object] = {}
    for name, some in rates.items():
        per_s = statistics.median(some)
        found |= {
            f"{name}_sales_per_s": round(per_s),
            f"{name}_mb_per_s": round(per_s * bytes_a_sale[name] / 1e6, 1),
        }
    found |= {f"{name}_mb_per_s": round(statistics.median(some), 1) for name, some in ceilings.items()}
    return found | {"rss_mb": dict(rss), "rss_mb_max": max(rss.values())}


def run(settings: Settings, pid: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Deliver files of each format in turn, then the large one."""
    console = Console(stderr=True)
    rates: dict[str, list[float]] = {name: [] for name in FORMATS}
    ceilings: dict[str, list[float]] = {"expat": [], "polars_csv": []}
    sizes: dict[str, float] = {}
    rss: dict[str, float] = {}
    client = admin(settings)
    places = [TopicPartition(SALES_INPUT, number) for number in range(settings.sales_partitions)]
    with closing(Desk(settings, open_store(settings))) as desk:
        for number in range(arguments.runs):
            for name in FORMATS:
                # Each file has sales of its own, or it would be known as one that came before.
                first = (number * len(FORMATS) + FORMATS.index(name)) * arguments.sales
                frame, path = (
                    sales_frame(Retailer(), first, arguments.sales),
                    settings.home / f"sales-{first}.{name}",
                )
                size = write_delivery(path, "sales", frame)
                starts = end_offsets(client, places)
                rates[name].append(delivered(settings, desk, path, arguments.sales, pid))
                check_messages(settings, starts, frame)
                sizes[name] = size / arguments.sales
                rss[name] = peak_rss_mb(pid)
                console.print(f"{name}: {rates[name][-1]:,.0f} sales/s, {size / 1e6:,.0f} MB")
                if name == "xml":
                    ceilings["expat"].append(size / 1e6 / expat_s(path))
                elif name == "csv":
                    ceilings["polars_csv"].append(size / 1e6 / polars_s(path))
                path.unlink()
        large = arguments.large_mb * 1_000_000 // XML_BYTES_A_SALE
        large_mb = 0.0
        if large:
            path = settings.home / "large.xml"
            first = arguments.runs * len(FORMATS) * arguments.sales
            large_mb = write_delivery(path, "sales", sales_frame(Retailer(), first, large)) / 1e6
            rate = delivered(settings, desk, path, large, pid)
            rss["large"] = peak_rss_mb(pid)
            console.print(f"large: {rate:,.0f} sales/s, {large_mb:,.0f} MB, {rss['large']:g} MB of memory")
    return figures(rates, sizes, ceilings, rss) | {"large_mb": round(large_mb), "large_sales": large}


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=1_000_000, help="in each file")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--large-mb", type=int, default=2_000, help="size of the large XML file; 0 leaves it out"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-ingest-") as folder:
        settings = own_settings(Path(folder))
        with running_parts(settings, [JOB]) as supervisor:
            (pid,) = (state.pid for state in supervisor.states() if state.name == JOB)
            print(
                json.dumps(run(settings, pid, arguments) | {"sales": arguments.sales, "runs": arguments.runs})
            )


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.ingest: {error}")
