"""Pathway: a table of raw messages, one function of each row, two tables out; at least once."""

import pathway as pw
from by_record import Judge, Route

route = Route.given()
judge = Judge.of(route)
settings = {
    "bootstrap.servers": route.broker,
    "group.id": route.group,
    "auto.offset.reset": "earliest",
    "security.protocol": "plaintext",
}


@pw.udf(deterministic=True)
def is_valid(value: bytes) -> bool:
    """Whether a sale breaks no rule."""
    return not judge.codes(value)


sales = pw.io.kafka.read(settings, topic=route.input, format="raw", autocommit_duration_ms=500)
judged = sales.select(pw.this.key, pw.this.data, valid=is_valid(pw.this.data))
for topic, rows in (
    (route.valid, judged.filter(pw.this.valid)),
    (route.refused, judged.filter(~pw.this.valid)),
):
    pw.io.kafka.write(rows, settings, topic_name=topic, format="raw", key=rows.key, value=rows.data)
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
