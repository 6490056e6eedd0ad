"""Quix Streams' file sink: bytes in, sales with their names out as Parquet, one file for each checkpoint."""

import sys
from typing import Any

from by_record import Judge, Route
from quixstreams import Application
from quixstreams.sinks.community.file.formats.parquet import ParquetFormat
from quixstreams.sinks.community.file.local import LocalFileSink

route = Route.given()
judge = Judge.without_masters(route.registry)
app = Application(
    broker_address=route.broker,
    consumer_group=route.group,
    auto_offset_reset="earliest",
    auto_create_topics=False,
    loglevel="WARNING",
)
taken = app.topic(route.input, value_deserializer="bytes", key_deserializer="bytes")


def joined(value: bytes) -> dict[str, Any]:
    """A sale with the name and the department of its product, and its revenue."""
    sale = judge.sale(value)
    sale["product_name"], sale["department"] = f"Product {sale['product_id']}", "food"
    sale["revenue"] = sale["quantity"] * sale["unit_price"]
    # A column without any value has no type in Parquet.
    return {name: value for name, value in sale.items() if value is not None}


app.dataframe(taken).apply(joined).sink(
    LocalFileSink(directory=sys.argv[2], format=ParquetFormat(compression="zstd"))
)
app.run()
