"""What a worker must know before it may judge: the deliveries, and the locations and products of them all.

Guarantee: what is in the tables and in the log is what stood below `positions`, all of it, in order.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping

from confluent_kafka import Message

from infra.errors import UndecodableError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES, LOCATIONS, PRODUCTS
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import DeliveryLog
from stream_jobs.master_tables import MasterTables

logger = logging.getLogger(__name__)

_BAD_LOGGED_MAX = 5
_START_S_MAX = 900.0
_CATCH_UP_S_MAX = 90.0


class MasterReader:
    """Follows `deliveries`, `locations` and `products` from their beginnings.

    Args:
        settings: Where the brokers are.
        registry: Where schemas have their ids.
        name: Name of the job, for the brokers' logs.

    Raises:
        MissingPartError: No broker answers, or a topic does not exist.
    """

    def __init__(self, settings: Settings, registry: Registry, name: str) -> None:
        self.log = DeliveryLog()
        self.tables = MasterTables.empty()
        self._events = Codec(DELIVERIES, registry)
        self._locations = Codec(LOCATIONS, registry)
        self._products = Codec(PRODUCTS, registry)
        self._reader = TopicReader(settings, [DELIVERIES, LOCATIONS, PRODUCTS], name)
        self._applied: dict[tuple[str, int], int] = {}

    @property
    def positions(self) -> Mapping[tuple[str, int], int]:
        """Next offset of each (topic, partition) that is not yet in the tables and the log."""
        return self._applied

    def start(self, stop: threading.Event) -> None:
        """Read what is there, or until `stop` is set; may block for as long as the topics are large."""
        self._read_to_end(_START_S_MAX, stop)
        logger.info(
            "knows %d deliveries, %d locations and %d products",
            len(self.log.deliveries),
            self.tables.locations.keys,
            self.tables.products.keys,
        )

    def catch_up(self) -> None:
        """Take in everything that was written before this call.

        Raises:
            UnavailableError: The ends were not reached in time.
        """
        self._read_to_end(_CATCH_UP_S_MAX, None)

    def _read_to_end(self, timeout_s: float, stop: threading.Event | None) -> None:
        for messages in self._reader.read_to_end(timeout_s):
            self._apply(messages)
            if stop is not None and stop.is_set():
                return

    def follow(self) -> bool:
        """Take in what has come, without waiting; returns whether anything has."""
        before = dict(self._applied)
        self._apply(self._reader.poll(timeout_s=0))
        return self._applied != before

    def close(self) -> None:
        """Leave the brokers."""
        self._reader.close()

    def _apply(self, messages: list[Message]) -> None:
        by_topic: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic() or ""].append(message)
        for topic, some in by_topic.items():
            if topic == DELIVERIES:
                self._apply_events(some)
            else:
                self._apply_masters(topic, some)
        self._applied = dict(self._reader.positions)

    def _apply_events(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                event = self._events.decode_record(message.value())
            except UndecodableError as error:
                _passed_over(message, str(error))
                continue
            self.log.apply(message.offset() or 0, event)

    def _apply_masters(self, topic: str, messages: list[Message]) -> None:
        codec = self._locations if topic == LOCATIONS else self._products
        decoded = codec.decode([message.value() for message in messages])
        for place, reason in list(decoded.bad.items())[:_BAD_LOGGED_MAX]:
            _passed_over(messages[place], reason)
        if len(decoded.bad) > _BAD_LOGGED_MAX:
            logger.error("%s: passed over %d more such messages", topic, len(decoded.bad) - _BAD_LOGGED_MAX)
        if topic == LOCATIONS:
            self.tables.add_locations(decoded.frame)
        else:
            self.tables.add_products(decoded.frame)


def _passed_over(message: Message, reason: str) -> None:
    logger.error(
        "%s [%s] offset %s: passed over a message that cannot be read: %s; look for a foreign writer",
        message.topic(),
        message.partition(),
        message.offset(),
        reason,
    )
