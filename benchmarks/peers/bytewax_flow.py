"""Bytewax: Kafka in, one branch, Kafka out; at least once, which is what its Kafka sink offers."""

import bytewax.operators as op
from by_record import Judge, Route
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

route = Route.given()
judge = Judge.of(route)
brokers = [route.broker]

flow = Dataflow("validate")
sales = kop.input("sales", flow, brokers=brokers, topics=[route.input], batch_size=10_000)
branches = op.branch("judge", sales.oks, lambda message: not judge.codes(message.value))
for name, stream, topic in (
    ("valid", branches.trues, route.valid),
    ("refused", branches.falses, route.refused),
):
    written = op.map(f"{name}-message", stream, lambda message: KafkaSinkMessage(message.key, message.value))
    kop.output(f"{name}-sink", written, brokers=brokers, topic=topic)

cli_main(flow)
