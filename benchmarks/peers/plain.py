"""confluent-kafka alone, as its documentation advises for exactly once: consume, produce, offsets in the transaction.

Hands every message on unseen. It installs nothing: it runs in Headrace's own environment.
"""

from by_record import Route
from confluent_kafka import Consumer, Producer

BATCH = 10_000

route = Route.given()
consumer = Consumer(
    {
        "bootstrap.servers": route.broker,
        "group.id": route.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
)
producer = Producer(
    {
        "bootstrap.servers": route.broker,
        "transactional.id": route.group,
        "linger.ms": 20,
        "compression.type": "lz4",
    }
)
consumer.subscribe([route.input])
producer.init_transactions(30)
while True:
    messages = [message for message in consumer.consume(BATCH, 0.1) if message.error() is None]
    if not messages:
        continue
    producer.begin_transaction()
    for message in messages:
        while True:
            try:
                producer.produce(route.valid, message.value(), message.key())
                break
            except BufferError:
                producer.poll(0.1)
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30
    )
    producer.commit_transaction(30)
