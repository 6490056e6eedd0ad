"""Rows a second from messages to columns and back, in batches as the jobs take them, in one thread.

The peers are fastavro and confluent-kafka's own (de)serializer, which make a dictionary of each message, and pyruhvro,
which makes an Arrow batch, as we make a frame. Checked: what each decodes are the sales, and what each encodes are
the same bytes.
"""

import argparse
import io
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from rich.console import Console

from benchmarks.contestants import PEERS, peer_python
from benchmarks.digests import check_equal, rows_digest
from benchmarks.filled import CUSTOMER, Retailer, sales_frame
from benchmarks.own_stack import own_settings, running_parts
from infra.errors import HeadraceError, MissingPartError
from infra.settings import Settings
from schemas.catalogue import SALES_INPUT, schema_of
from schemas.codec import HEAD_BYTES, Codec
from schemas.registry import Registry

Batches = list[list[bytes]]
Records = list[list[dict[str, Any]]]
Rates = dict[str, list[float]]


def sales(rows: int, batch_rows: int) -> list[pl.DataFrame]:
    """Batches of sales as ingest encodes them."""
    frame = sales_frame(Retailer(), 0, rows).with_columns(
        pl.lit(CUSTOMER).alias("customer_id"),
        pl.lit(7, dtype=pl.Int64).alias("delivery_id"),
        pl.int_range(1, rows + 1, dtype=pl.Int64).alias("position"),
        pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC")).alias("received_at"),
        pl.col("sold_at").cast(pl.Datetime("us", "UTC")),
    )
    return list(frame.iter_slices(batch_rows))


def timed(rows: int, work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work gives, and how many rows a second it does."""
    began = time.perf_counter()
    result = work()
    return result, rows / (time.perf_counter() - began)


class Peers:
    """The other ways to do it.

    Args:
        settings: Where the registry is.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = SchemaRegistryClient({"url": settings.registry})
        text = schema_of(SALES_INPUT)
        self._schema = fastavro.parse_schema(json.loads(text))
        self._context = SerializationContext(SALES_INPUT, MessageField.VALUE)
        self._reader = AvroDeserializer(self._client)
        self._writer = AvroSerializer(self._client, text, conf={"auto.register.schemas": False})

    def fastavro_decode(self, batches: Batches) -> Records:
        """Each message as a dictionary, by fastavro alone."""

        def one(value: bytes) -> Any:
            body = io.BytesIO(value)
            body.seek(HEAD_BYTES)
            return fastavro.schemaless_reader(body, self._schema, None)

        return [[one(value) for value in batch] for batch in batches]

    def fastavro_encode(self, records: Records, head: bytes) -> Batches:
        """Each dictionary as a message, by fastavro alone."""

        def one(record: dict[str, Any]) -> bytes:
            body = io.BytesIO()
            body.write(head)
            fastavro.schemaless_writer(body, self._schema, record)
            return body.getvalue()

        return [[one(record) for record in batch] for batch in records]

    def confluent_decode(self, batches: Batches) -> Records:
        """Each message as a dictionary, by confluent-kafka's deserializer."""
        return [[self._reader(value, self._context) for value in batch] for batch in batches]

    def confluent_encode(self, records: Records) -> Batches:
        """Each dictionary as a message, by confluent-kafka's serializer."""
        return [[self._writer(record, self._context) for record in batch] for batch in records]

    def close(self) -> None:
        """Leave the registry."""
        self._client.close()


def run(settings: Settings, rows: int, runs: int) -> tuple[Rates, dict[str, str]]:
    """Let all do the same, in turn.

    Returns:
        Rows a second by figure, and for each peer that did not run why.
    """
    frames = sales(rows, settings.stream.batch_rows_max)
    columns = frames[0].columns
    expected = sum(rows_digest(frame, columns) for frame in frames)
    registry, peers = Registry(settings), Peers(settings)
    codec = Codec(SALES_INPUT, registry)
    rates: Rates = {}
    not_run: dict[str, str] = {}

    def keep(name: str, work: Callable[[], Any]) -> Any:
        result, rate = timed(rows, work)
        rates.setdefault(f"{name}_rows_per_s", []).append(rate)
        Console(stderr=True).print(f"{name}: {rate:,.0f} rows/s")
        return result

    for _ in range(runs):
        batches: Batches = keep("encode", partial(list, map(codec.encode, frames)))
        decoded = keep("decode", partial(list, map(codec.decode, batches)))
        check_equal("our rows", sum(rows_digest(one.frame, columns) for one in decoded), expected)
        head = batches[0][0][:HEAD_BYTES]
        for name, read, write in (
            ("fastavro", peers.fastavro_decode, partial(peers.fastavro_encode, head=head)),
            ("confluent", peers.confluent_decode, peers.confluent_encode),
        ):
            records: Records = keep(f"{name}_decode", partial(read, batches))
            found = sum(rows_digest(pl.DataFrame(batch, frames[0].schema), columns) for batch in records)
            check_equal(f"the rows of {name}", found, expected)
            written = keep(f"{name}_encode", partial(write, records))
            check_equal(f"whether the bytes of {name} are ours", written == batches, expected=True)
        if "pyruhvro" not in not_run:
            try:
                for way, rate in _pyruhvro(settings, batches).items():
                    rates.setdefault(f"pyruhvro_{way}_rows_per_s", []).append(rate)
            except MissingPartError as error:
                not_run["pyruhvro"] = str(error)
    peers.close()
    registry.close()
    return rates, not_run


def _pyruhvro(settings: Settings, batches: Batches) -> Mapping[str, float]:
    python = peer_python(settings, "pyruhvro_codec")
    files = [settings.home / name for name in ("messages", "schema.avsc", "written")]
    files[0].write_bytes(pickle.dumps(batches))
    files[1].write_text(schema_of(SALES_INPUT))
    command = [python, str(PEERS / "pyruhvro_codec.py"), *map(str, files)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    # Its bytes are ours only if it decoded every field of every message.
    check_equal(
        "whether the bytes of pyruhvro are ours",
        pickle.loads(files[2].read_bytes()) == batches,
        expected=True,
    )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def figures(rates: Mapping[str, Sequence[float]], not_run: Mapping[str, str]) -> dict[str, object]:
    """Medians."""
    return {name: round(statistics.median(some)) for name, some in rates.items()} | {"not_run": dict(not_run)}


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-codec-") as folder:
        settings = own_settings(Path(folder))
        with running_parts(settings, []):
            print(json.dumps(figures(*run(settings, arguments.rows, arguments.runs)) | vars(arguments)))


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.codec: {error}")
