"""Faust (faust-streaming): one agent that takes bytes, some at a time; at least once, which is its default."""

import sys
import tempfile

import faust
from by_record import Judge, Route

route = Route.given()
judge = Judge.of(route)
app = faust.App(
    route.group,
    broker=f"kafka://{route.broker}",
    value_serializer="raw",
    key_serializer="raw",
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
    stream_wait_empty=False,
    producer_linger=0.02,
    producer_max_batch_size=1_000_000,
    datadir=tempfile.mkdtemp(prefix="faust-"),
)
taken = app.topic(route.input, value_type=bytes, key_type=bytes)
valid = app.topic(route.valid, value_type=bytes, key_type=bytes)
refused = app.topic(route.refused, value_type=bytes, key_type=bytes)


@app.agent(taken)
async def validate(sales: faust.Stream) -> None:
    """Send each sale to the topic that it belongs to."""
    # One by one, each would be a request to the broker of its own.
    async for events in sales.take_events(1_000, within=0.1):
        for event in events:
            topic = refused if judge.codes(event.value) else valid
            await topic.send(key=event.key, value=event.value)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "warn", "--without-web"]
    app.main()
