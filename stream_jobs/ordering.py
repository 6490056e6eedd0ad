"""When a sale may be judged: the ordering rule.

A sale of delivery D is judged only when this process knows every location and product of all the same
customer's deliveries that were accepted before D.

Pure: the log, the positions, the clock and the time of waiting are arguments. Guarantee: once a delivery is
ready it stays ready, and what a look-up as of a ready delivery finds never changes, so the verdicts on the
same input are the same at any speed of any delivery, service or partition. Only the bound on the wait can
break this, and a verdict after the bound says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from schemas.catalogue import LOCATIONS, PRODUCTS
from stream_jobs.deliveries import Delivery, DeliveryLog

TABLE_TOPICS = frozenset({LOCATIONS, PRODUCTS})
"""The topics whose records the tables hold."""

Positions = Mapping[tuple[str, int], int]
"""Next offset to be read of each (topic, partition)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a sale waits for.

    Attributes:
        delivery_id: The delivery waited for.
        content: Its content; None when it is the sale's own delivery, of which this process has not yet read.
        accepted_at: When it was accepted, UTC; None together with `content`.
        state: How far it is, in words.
    """

    delivery_id: int
    content: str | None
    accepted_at: datetime | None
    state: str

    @property
    def key(self) -> tuple[int, str | None]:
        """What stays the same while the delivery waited for moves on."""
        return self.delivery_id, self.content

    @property
    def words(self) -> str:
        """What is waited for, for a person."""
        if self.content is None or self.accepted_at is None:
            return f"delivery {self.delivery_id}, {self.state}"
        accepted = f"accepted {self.accepted_at:%Y-%m-%d %H:%M} UTC"
        return f"delivery {self.delivery_id} ({self.content}), {accepted}, {self.state}"


def wait_for(master: Delivery) -> Wait:
    """The wait for a delivery of master data that is not all known yet."""
    if not master.open:
        state = "read, its records are on their way"
    elif master.position == 0:
        state = "not yet read"
    else:
        state = f"{master.position} records read so far"
    return Wait(master.delivery_id, master.content, master.accepted_at, state)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether sales of a delivery may be judged.

    Attributes:
        ready: True when they may.
        waits: What they wait for; of a ready delivery what it is judged without, because the wait was too
            long.
    """

    ready: bool
    waits: tuple[Wait, ...] = ()


def decide(
    log: DeliveryLog,
    positions: Positions,
    customer_id: str,
    delivery_id: int,
    since: Mapping[tuple[int, str | None], float],
    now_s: float,
    wait_s_max: float,
) -> Decision:
    """Decide whether sales of a delivery may be judged now.

    Args:
        log: The deliveries as far as this process has read them.
        positions: How far it has read the topics of locations and products.
        customer_id: Customer of the sales.
        delivery_id: Delivery of the sales.
        since: When each `Wait.key` was first waited for, on the clock of `now_s`; absent means now.
        now_s: Now, seconds.
        wait_s_max: Longest wait for one delivery, seconds.
    """
    waits = tuple(blockers(log, positions, customer_id, delivery_id))
    ready = all(now_s - since.get(wait.key, now_s) >= wait_s_max for wait in waits)
    return Decision(ready, waits)


def blockers(log: DeliveryLog, positions: Positions, customer_id: str, delivery_id: int) -> list[Wait]:
    """What stands between a delivery's sales and their verdicts, oldest first."""
    waits = [
        wait_for(master)
        for master in log.master_deliveries_before(customer_id, delivery_id)
        if not is_known(master, positions)
    ]
    if log.position <= delivery_id:
        waits.append(
            Wait(delivery_id, None, None, "of which this process has not yet read that it was accepted")
        )
    return waits


def is_known(master: Delivery, positions: Positions) -> bool:
    """Whether all records that a delivery of master data ever brings have been read here.

    Its refusals and tallies, which it writes to other topics, are nobody's to wait for.
    """
    ends = {place: end for place, end in master.ends.items() if place[0] in TABLE_TOPICS}
    return not master.open and all(positions.get(place, 0) > end for place, end in ends.items())
