"""Quix Streams: bytes in, one dataframe, each sale to the topic that it belongs to; exactly once."""

from typing import Any

from by_record import Judge, Route
from quixstreams import Application

route = Route.given()
judge = Judge.of(route)
app = Application(
    broker_address=route.broker,
    consumer_group=route.group,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    auto_create_topics=False,
    loglevel="WARNING",
)
taken = app.topic(route.input, value_deserializer="bytes", key_deserializer="bytes")
valid = app.topic(route.valid, value_serializer="bytes", key_serializer="bytes")
refused = app.topic(route.refused, value_serializer="bytes", key_serializer="bytes")


def destination(value: bytes, _key: Any, _timestamp: int, _headers: Any) -> Any:
    """The topic that a sale belongs to."""
    return refused if judge.codes(value) else valid


app.dataframe(taken).to_topic(destination)
app.run()
