"""Validate without transactions: the same process, which flushes and then commits its offsets.

What exactly once costs is the difference to validate as it is. It takes the arguments of `headrace job`.
"""

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from cli.exits import run
from cli.jobs import app
from infra.errors import UnavailableError
from infra.kafka import producer
from infra.settings import Settings
from stream_jobs import validate
from stream_jobs.transactions import ANSWER_S_MAX, Transactions


class Untransacted(Transactions):
    """Writes that are seen at once, and offsets after them: at least once."""

    def __init__(self, settings: Settings, transactional_id: str, job: str, *, noting: bool = False) -> None:
        self._id, self._job = transactional_id, job
        self._producer = producer(settings, delivery_report_only_error=not noting)
        # As far as writing goes, one transaction is always open.
        self._open = True

    def commit(
        self, offsets: Mapping[tuple[str, int], int] | None = None, group: Consumer | None = None
    ) -> None:
        """Wait until all is written, then commit the offsets."""
        if left := self._producer.flush(ANSWER_S_MAX):
            raise UnavailableError(f"{self._id}: {left} messages were not written within {ANSWER_S_MAX:g} s")
        if offsets and group is not None:
            places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
            group.commit(offsets=places, asynchronous=False)

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    setattr(validate, "Transactions", Untransacted)  # noqa: B010  It is not exported, and nothing else exchanges it.
    run(app)
