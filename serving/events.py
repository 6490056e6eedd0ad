"""What becomes known of a customer, told to those who listen: deliveries that are done, and runs that become current.

Guarantee: who listens again with the mark of the last event that came through is told all that came to pass since, in
order: each delivery that was done, and the run that is current by then. Listeners are bounded in number and in time,
and let go at once when the service is told to stop.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from serving.answers import DeliveryAnswer, RunEvent
from serving.forecast_store import ForecastStore
from serving.ports import Deliveries, Finish
from serving.problems import BAD_CURSOR, TOO_BUSY, Problem

LISTENERS_MAX = 100
BATCH_MAX = 1_000
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a listener has been told.

    Attributes:
        run_id: The run that it was told of last; None when none.
        finish: The last delivery that it was told of, by when it was done; None for those that ever were.
    """

    run_id: str | None = None
    finish: Finish | None = None

    def text(self) -> str:
        """The mark as the id of an event."""
        at, delivery_id = self.finish or (None, None)
        return " ".join(
            [
                self.run_id or NOTHING,
                at.isoformat() if at else NOTHING,
                NOTHING if at is None else str(delivery_id),
            ]
        )

    @classmethod
    def parsed(cls, text: str) -> Self:
        """The mark that an event had as its id.

        Raises:
            Problem: 400; it is none.
        """
        try:
            run_id, at, delivery_id = text.split(" ")
            finish = None if at == NOTHING else (datetime.fromisoformat(at), int(delivery_id))
            if finish is not None and finish[0].tzinfo is None:
                raise ValueError("a moment without its zone")  # noqa: TRY301
        except ValueError as error:
            raise Problem(
                BAD_CURSOR, "Last-Event-ID: expected the id of an event of this address."
            ) from error
        return cls(None if run_id == NOTHING else run_id, finish)


class Events:
    """Tells what is new, and counts those who listen.

    Args:
        deliveries: Knows which are done.
        forecasts: Knows which run is current.
    """

    def __init__(self, deliveries: Deliveries, forecasts: ForecastStore) -> None:
        self._deliveries = deliveries
        self._forecasts = forecasts
        self._lock = threading.Lock()
        self._listeners = 0
        self._stopping = threading.Event()

    def now(self, customer_id: str) -> Mark:
        """The mark of who begins to listen: told of no run, so that the current one comes first."""
        return Mark(None, self._deliveries.last_finish(customer_id))

    def since(self, customer_id: str, mark: Mark) -> Iterator[tuple[bytes, Mark]]:
        """What came to pass since a mark, as server-sent events, each with the mark after it. Blocks for a moment.

        Raises:
            UnavailableError: The run is not held, and the lake does not answer.
        """
        for delivery in self._deliveries.finished(customer_id, mark.finish, BATCH_MAX):
            assert delivery.done_at is not None
            mark = replace(mark, finish=(delivery.done_at, delivery.delivery_id))
            yield _event("delivery", DeliveryAnswer.of(delivery).model_dump_json().encode(), mark), mark
        run = self._forecasts.current(customer_id)
        if run is not None and run.origin.run_id != mark.run_id:
            mark = replace(mark, run_id=run.origin.run_id)
            shown = RunEvent.model_validate(run.origin.fields())
            yield _event("run", shown.model_dump_json().encode(), mark), mark

    def stop(self) -> None:
        """Let all listeners go."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether listeners are let go."""
        return self._stopping.is_set()

    def __enter__(self) -> Self:
        """Count a listener.

        Raises:
            Problem: 503; there are as many as there may be.
        """
        with self._lock:
            if self._listeners >= LISTENERS_MAX:
                raise Problem(TOO_BUSY, f"{LISTENERS_MAX} are listening.", {"Retry-After": "30"})
            self._listeners += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Count it no longer."""
        with self._lock:
            self._listeners -= 1


def _event(name: str, data: bytes, mark: Mark) -> bytes:
    """An event as the standard of server-sent events has it; JSON has no line breaks that could end it."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), mark.text().encode(), data)
