"""Where a job begins that reads a topic again: at an offset, a moment, or a delivery."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaException, TopicPartition

from infra.errors import SettingError, UnavailableError
from infra.extents import ANSWER_S_MAX, extents
from infra.kafka import consumer
from infra.settings import Settings
from stream_jobs.deliveries import DeliveryLog

CLOCKS_DIFFER_MAX = timedelta(seconds=60)
"""How far the clocks of whoever accepts and whoever ingests may be apart."""

_FORM = re.compile(r"(delivery|offset):(\d{1,18})|time:(\S+)")


@dataclass(frozen=True, slots=True)
class Start:
    """A point in the stream; one of the three is given.

    Attributes:
        delivery_id: A delivery.
        offset: An offset, the same for every partition.
        time: A moment, UTC.
    """

    delivery_id: int | None = None
    offset: int | None = None
    time: datetime | None = None

    @classmethod
    def parsed(cls, text: str, option: str) -> "Start":
        """What a person wrote.

        Args:
            text: `delivery:ID`, `offset:NUMBER` or `time:…` in ISO 8601; without a zone it is UTC.
            option: Name of the option, for the error.

        Raises:
            SettingError: It is none of the three forms.
        """
        found = _FORM.fullmatch(text)
        try:
            if found and found[3]:
                time = datetime.fromisoformat(found[3])
                return cls(time=time if time.tzinfo else time.replace(tzinfo=UTC))
        except ValueError:
            found = None
        if found is None:
            raise SettingError(
                f"{option}: expected delivery:ID, offset:NUMBER or time:2026-11-01T12:00 (UTC unless it says "
                f"otherwise), found {text!r}"
            )
        number = int(found[2])
        return cls(delivery_id=number) if found[1] == "delivery" else cls(offset=number)


def start_offsets(
    settings: Settings, topic: str, start: Start | None, log: DeliveryLog
) -> Mapping[tuple[str, int], int]:
    """The offset at which each partition of a topic begins; nothing left there is before it.

    What retention has deleted cannot be read again: a partition begins no earlier than its oldest message. The
    records of a delivery were written after it was accepted, so it begins a minute before that moment.

    Args:
        settings: Where the brokers are.
        topic: The topic.
        start: The point in the stream; None means the oldest message.
        log: The deliveries.

    Raises:
        SettingError: There is no such delivery.
        UnavailableError: The brokers do not answer.
    """
    held = extents(settings, [topic])
    if start is None:
        return {place: extent.first for place, extent in held.items()}
    if start.offset is not None:
        return {place: min(max(start.offset, extent.first), extent.end) for place, extent in held.items()}
    moment = start.time
    if start.delivery_id is not None:
        delivery = log.deliveries.get(start.delivery_id)
        if delivery is None:
            raise SettingError(
                f"delivery {start.delivery_id}: expected the id of a delivery, found none of that id; "
                "`headrace status` lists the newest"
            )
        moment = delivery.accepted_at - CLOCKS_DIFFER_MAX
    assert moment is not None
    asker = consumer(settings, "start-reader")
    milliseconds = int(moment.timestamp() * 1000)
    try:
        found = asker.offsets_for_times(
            [TopicPartition(*place, milliseconds) for place in held], timeout=ANSWER_S_MAX
        )
    except KafkaException as error:
        raise UnavailableError(
            f"asking {topic} for its offsets at {moment}: {error.args[0].str()}"
        ) from error
    finally:
        asker.close()
    # Kafka says -1 where nothing is as new as that.
    return {
        (place.topic, place.partition): place.offset
        if place.offset >= 0
        else held[place.topic, place.partition].end
        for place in found
    }
