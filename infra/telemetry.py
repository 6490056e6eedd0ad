"""Logs and metrics of a process.

A healthy service is quiet: it logs its start, its stop, and what somebody should do something about.
"""

import logging
import sys
import time

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from infra.errors import MissingPartError
from infra.settings import Settings

# Every metric of Headrace, in one list.
ready = Gauge("headrace_ready", "1 when the process has started and takes work, else 0.")
records_in = Counter("headrace_records_in", "Records read.", ["job", "topic"])
records_out = Counter("headrace_records_out", "Records written.", ["job", "topic"])
transactions = Counter("headrace_transactions", "Kafka transactions committed.", ["job"])
objects_written = Counter("headrace_objects_written", "Objects written to the lake.", ["table"])
rows_written = Counter("headrace_rows_written", "Rows written to the lake.", ["table"])
paused_partitions = Gauge("headrace_paused_partitions", "Partitions that wait for master data.", ["job"])
late_sales = Counter(
    "headrace_late_sales",
    "Sales that came when windows they belong to were closed; outcome is not_counted or not_replaced.",
    ["window", "outcome"],
)
lag_messages = Gauge(
    "headrace_lag_messages",
    "Messages of a partition that the job has not taken yet; markers of transactions count as well.",
    ["job", "topic", "partition"],
)
batch_seconds = Histogram("headrace_batch_seconds", "Time to handle one batch, seconds.", ["job"])
http_seconds = Histogram(
    "headrace_http_seconds", "Time to answer one request, seconds.", ["method", "route", "status"]
)


def log_to_stderr(settings: Settings) -> None:
    """Send this process's logs to standard error, one line each, with UTC times."""
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in (
        "httpx",
        "httpx2",
        "httpcore",
        "urllib3",
        "matplotlib",
        "fsspec",
        "botocore",
        "aiobotocore",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def serve_metrics(settings: Settings) -> None:
    """Serve `/metrics` on `settings.metrics_port`; port 0 serves none.

    Raises:
        MissingPartError: The port is taken.
    """
    ready.set(0)
    if settings.metrics_port == 0:
        return
    try:
        start_http_server(settings.metrics_port, settings.http_host)
    except OSError as error:
        raise MissingPartError(
            f"port {settings.metrics_port} for metrics cannot be had: {error.strerror}. "
            "Set HEADRACE_METRICS_PORT to a free one, or to 0 for none."
        ) from error
