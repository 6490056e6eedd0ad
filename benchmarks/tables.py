"""The tables of `benchmarks/README.md`, from what the benchmarks printed.

`benchmarks/results.json` holds the last figures of each, with the machine and the day. A table stands between two
markers, `<!-- figures: NAME -->` and `<!-- end -->`; the words around it are written by hand. A test compares
the page with what this would write.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.hierarchy import LEVELS as HIERARCHY

FOLDER = Path(__file__).parent
PAGE = FOLDER / "README.md"
RESULTS = FOLDER / "results.json"

_TABLE = re.compile(r"<!-- figures: ([a-z0-9-]+) -->\n.*?<!-- end -->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    Attributes:
        words: What was measured, with its unit.
        key: Its name in the JSON, `outer.inner` for one inside another.
    """

    words: str
    key: str


M5_PEERS = (
    "hist_gradient_boosting",
    "exponential_smoothing",
    "tsb",
    "weekday_mean",
    "seasonal_naive",
)

TABLES: Mapping[str, Sequence[Row]] = {
    "validate": (
        Row("**validate**, sales/s", "sales_per_s"),
        Row("without transactions, sales/s", "untransacted_per_s"),
        Row("messages handed on unseen by the same runtime, messages/s", "pass_through_per_s"),
        Row("messages handed on unseen by confluent-kafka alone, messages/s", "plain_per_s"),
        Row("Quix Streams, sales/s", "quix_per_s"),
        Row("Bytewax, sales/s", "bytewax_per_s"),
        Row("Faust, sales/s", "faust_per_s"),
        Row("Pathway, sales/s", "pathway_per_s"),
        Row("validate, as a share of passing through", "of_pass_through"),
        Row("validate, times the best peer in Python", "vs_best_python"),
        Row("processor time for a sale, µs", "cpu_us_per_sale"),
        Row("most memory, MB", "rss_mb"),
        Row("with a million products and ten thousand locations, sales/s", "large_sales_per_s"),
        Row("the same, as a share of 3,000 and 10", "of_small"),
        Row("the same, most memory, MB", "large_rss_mb"),
    ),
    "validate-kafka": (
        Row("**validate**, sales/s", "sales_per_s"),
        Row("Kafka Streams, exactly once, sales/s", "kafka_streams_per_s"),
        Row("Kafka Streams, at least once, sales/s", "kafka_streams_at_least_once_per_s"),
        Row("validate without transactions, sales/s", "untransacted_per_s"),
        Row("messages handed on unseen by the same runtime, messages/s", "pass_through_per_s"),
        Row("messages handed on unseen by confluent-kafka alone, messages/s", "plain_per_s"),
        Row("processor time for a sale, µs: validate", "cpu_us.validate"),
        Row("processor time for a sale, µs: Kafka Streams", "cpu_us.kafka_streams"),
    ),
    "join": (
        Row("**join** into a directory, sales/s", "sales_per_s"),
        Row("join into S3, sales/s", "s3_sales_per_s"),
        Row("messages read and thrown away, messages/s", "consumer_per_s"),
        Row("Quix Streams' file sink, sales/s", "quix_per_s"),
        Row("join, as a share of reading alone", "of_consumer"),
        Row("processor time for a sale, µs", "cpu_us_per_sale"),
        Row("most memory, MB", "rss_mb"),
    ),
    "ingest": (
        Row("**XML**, sales/s", "xml_sales_per_s"),
        Row("XML, MB/s", "xml_mb_per_s"),
        Row("expat without handlers, MB/s", "expat_mb_per_s"),
        Row("CSV, sales/s", "csv_sales_per_s"),
        Row("CSV, MB/s", "csv_mb_per_s"),
        Row("Polars' CSV reader, MB/s", "polars_csv_mb_per_s"),
        Row("JSON Lines, sales/s", "jsonl_sales_per_s"),
        Row("JSON Lines, MB/s", "jsonl_mb_per_s"),
        Row("largest file, MB", "large_mb"),
        Row("most memory, MB", "rss_mb_max"),
    ),
    "codec": (
        Row("**bytes to columns**, rows/s", "decode_rows_per_s"),
        Row("fastavro, to dictionaries, rows/s", "fastavro_decode_rows_per_s"),
        Row("confluent-kafka's AvroDeserializer, to dictionaries, rows/s", "confluent_decode_rows_per_s"),
        Row("pyruhvro, to an Arrow batch, rows/s", "pyruhvro_decode_rows_per_s"),
        Row("**columns to bytes**, rows/s", "encode_rows_per_s"),
        Row("fastavro, from dictionaries, rows/s", "fastavro_encode_rows_per_s"),
        Row("confluent-kafka's AvroSerializer, from dictionaries, rows/s", "confluent_encode_rows_per_s"),
        Row("pyruhvro, from an Arrow batch, rows/s", "pyruhvro_encode_rows_per_s"),
    ),
    "scale": (
        Row("one process, sales/s", "processes.1"),
        Row("two processes, sales/s", "processes.2"),
        Row("four processes, sales/s", "processes.4"),
        Row("4 partitions, sales/s", "partitions.4"),
        Row("16 partitions, sales/s", "partitions.16"),
        Row("64 partitions, sales/s", "partitions.64"),
        Row("sales carried to the lake, in steps", "volume"),
        Row("processor time for a sale in the last step, as a share of the first", "cpu_growth"),
        Row("seconds of the last step, as a share of the first", "time_growth"),
        Row("files of `sales_joined` after the last step", "files"),
        Row("listing them, ms", "list_ms"),
        Row("snapshots of state, MB", "snapshot_mb"),
    ),
    "channel": (
        Row("sales", "sales"),
        Row("all judged and reported, s", "judged_s"),
        Row("all in the lake, s", "to_lake_s"),
        Row("forecasts served, s", "to_forecasts_s"),
        Row("forecasts served, rows", "forecast_rows"),
        Row("most memory of one process, MB", "rss_mb_max"),
        Row("most memory of a flow run, MB", "rss_mb.flows, started by it"),
    ),
    "serve": (
        Row("**single series** on one core, requests/s", "rps"),
        Row("half of them answered within, ms", "p50_ms"),
        Row("99 of 100 answered within, ms", "p99_ms"),
        Row("processor time for a request, µs", "cpu_us_per_request"),
        Row("rows of the run", "rows"),
        Row("the whole run as an Arrow stream, s", "bulk_s"),
        Row("its size, MB", "bulk_mb"),
        Row("most memory of the service, MB", "rss_mb_max"),
        Row("DuckDB in process on its own table, series/s", "duckdb_table_per_s"),
        Row("DuckDB in process on the Parquet file, series/s", "duckdb_file_per_s"),
    ),
    "m5": (
        Row("**WRMSSE** of lightgbm, mean of the three windows", "wrmsse_mean"),
        *(Row(f"from d_{day}", f"wrmsse_windows.{day}") for day in (1858, 1886, 1914)),
        *(Row(f"from d_1914, level: {level.replace('_', ' × ')}", f"levels.{level}") for level in HIERARCHY),
        *(
            Row(f"mean of the three windows: {name.replace('_', ' ')}", f"models.{name}.wrmsse_mean")
            for name in M5_PEERS
        ),
        *(Row(f"from d_1914: {name.replace('_', ' ')}", f"models.{name}.wrmsse") for name in M5_PEERS),
        Row("WAPE of single series and days", "wape"),
        *(Row(f"the same: {name.replace('_', ' ')}", f"models.{name}.wape") for name in M5_PEERS),
        Row("scaled pinball loss of the seven quantiles", "pinball"),
        *(Row(f"the same: {name.replace('_', ' ')}", f"models.{name}.pinball") for name in M5_PEERS),
        Row("share of days within the range from 5 to 95 %", "coverage_90"),
        Row("share of the series' sums of 28 days within theirs", "coverage_90_sums.series"),
        Row(
            "share of the departments' sums of 28 days within theirs", "coverage_90_sums.location_department"
        ),
        Row("fit, s", "train_s"),
        Row("fit, s: hist gradient boosting", "models.hist_gradient_boosting.train_s"),
        Row("forecast of 853,720 rows, s", "forecast_s"),
        Row("processor time of both, s", "cpu_s"),
        Row("most memory, GiB", "rss_gib_max"),
    ),
    "restore": (
        Row("products", "products"),
        Row("snapshot, MB", "snapshot_mb"),
        Row("from the snapshot to the first verdict, s", "judges_again_s"),
        Row("as a share of reading the topics", "of_replay"),
    ),
}


def table(name: str, results: Mapping[str, Mapping[str, object]]) -> str:
    """The table of a benchmark in Markdown.

    Args:
        name: The benchmark.
        results: For each benchmark `machine` and `figures`.
    """
    found = results.get(name)
    if found is None:
        return "Not measured yet."
    figures = _mapping(found["figures"])
    lines = ["| | |", "|---|--:|"]
    for row in TABLES[name]:
        value = _value(figures, row.key)
        if value is not None:
            lines.append(f"| {row.words} | {_shown(value)} |")
    for peer, reason in _mapping(figures.get("not_run") or {}).items():
        lines.append(f"| {peer} | did not run: {_first_words(str(reason))} |")
    return "\n".join([*lines, "", _measured(_mapping(found["machine"]))])


def page(text: str, results: Mapping[str, Mapping[str, object]]) -> str:
    """The page with each of its tables written anew."""
    return _TABLE.sub(
        lambda found: f"<!-- figures: {found.group(1)} -->\n{table(found.group(1), results)}\n<!-- end -->",
        text,
    )


def load_results() -> dict[str, dict[str, object]]:
    """The last figures of each benchmark."""
    found: dict[str, dict[str, object]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def record(name: str, machine: Mapping[str, object], figures: Mapping[str, object]) -> None:
    """Keep what a benchmark printed, and write its table."""
    results = load_results()
    results[name] = {"machine": dict(machine), "figures": dict(figures)}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(PAGE.read_text(), results))


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _value(figures: Mapping[str, object], key: str) -> object:
    value: object = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _first_words(text: str) -> str:
    line = text.strip().splitlines()[-1].replace("|", "/")
    return line if len(line) <= 160 else f"{line[:159]}…"


def _measured(machine: Mapping[str, object]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in sorted(_mapping(machine["versions"]).items()))
    return (
        f"{machine['on']}: {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}; {versions}."
    )
