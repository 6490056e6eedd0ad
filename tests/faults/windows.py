"""What the windows of delivered sales must be, worked out from the files alone, and what the topics say instead.

A window holds of each sale the last line that came while the window was open. It closes for a location when, in the
deliveries before, something was sold there on a day that is further than the window's end and the grace. All of
the installation's windows begin and end at the location's midnights, so all that counts of a time is its day.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.faults.traffic import File

SIZES_DAYS = {"day": 1, "week": 7}
"""The windows that an installation keeps by default; one of each begins on every day."""
GRACE_DAYS = 3
NEVER = 0
MILLION = 1_000_000


class Window(NamedTuple):
    """A window of one product at one location; `first` is the ordinal of its first day."""

    name: str
    location_id: str
    product_id: str
    first: int

    def open_at(self, mark: int) -> bool:
        """Whether it takes sales yet when the location's time has come to a day."""
        return self.first + SIZES_DAYS[self.name] + GRACE_DAYS > mark


class Line(NamedTuple):
    """A line of a file that is valid; amounts in millionths, and `mark` the location's day in the deliveries before."""

    location_id: str
    product_id: str
    day: int
    quantity: int
    revenue: int
    voided: bool
    mark: int

    def windows(self) -> Iterator[Window]:
        """The windows that it belongs to."""
        for name, days in SIZES_DAYS.items():
            for first in range(self.day - days + 1, self.day + 1):
                yield Window(name, self.location_id, self.product_id, first)


class Late(NamedTuple):
    """A line that missed some windows of a name."""

    delivery_id: int
    position: int
    name: str
    outcome: str
    missed: int


class Sums(NamedTuple):
    """What a window amounts to; quantity and revenue in millionths."""

    quantity: int
    revenue: int
    sales: int
    final: bool


@dataclass(frozen=True, slots=True)
class Expected:
    """What must stand in the topics.

    Attributes:
        windows: The windows that hold a sale.
        late: What came too late.
    """

    windows: dict[Window, Sums]
    late: Counter[Late]


def expected_windows(delivered: Mapping[int, File], last_of_all: Mapping[str, int]) -> Expected:
    """Work out the windows.

    Args:
        delivered: The files, by delivery id.
        last_of_all: By location the last delivery that brought its partition a sale; at it, time moves last.
    """
    files: defaultdict[str, list[tuple[int, File]]] = defaultdict(list)
    for delivery_id, file in sorted(delivered.items()):
        if file.location:
            files[file.location].append((delivery_id, file))
    found = Expected({}, Counter())
    for location, some in files.items():
        histories, late, days = _read(some)
        found.late.update(late)
        last = last_of_all.get(location, NEVER)
        at_last = max((day for delivery_id, day in days if delivery_id < last), default=NEVER)
        amounts: defaultdict[Window, list[int]] = defaultdict(lambda: [0, 0, 0])
        for history, count in histories.items():
            for window in {window for line in history for window in line.windows()}:
                in_time = [line for line in history if window.open_at(line.mark)]
                if in_time and not in_time[-1].voided and window in in_time[-1].windows():
                    for place, amount in enumerate((in_time[-1].quantity, in_time[-1].revenue, 1)):
                        amounts[window][place] += amount * count
        for window, (quantity, revenue, sales) in amounts.items():
            found.windows[window] = Sums(quantity, revenue, sales, not window.open_at(at_last))
    return found


def _read(
    files: Iterable[tuple[int, File]],
) -> tuple[Counter[tuple[Line, ...]], Counter[Late], list[tuple[int, int]]]:
    """One location's sales: how often there is which history of lines, the late ones, each delivery's last day."""
    histories: dict[str, tuple[Line, ...]] = {}
    late: Counter[Late] = Counter()
    mark, days = NEVER, []
    for delivery_id, file in files:
        latest = NEVER
        for position, row in _valid_rows(file):
            line = _line(file, row, mark)
            if not line.voided:
                latest = max(latest, line.day)
            history = histories.get(row["sale_id"], ())
            for name, outcome, count in _missed(line, history[-1] if history else None):
                late[Late(delivery_id, position, name, outcome, count)] += 1
            histories[row["sale_id"]] = (*history, line)
        mark = max(mark, latest)
        days.append((delivery_id, latest))
    return Counter(histories.values()), late, days


def _valid_rows(file: File) -> Iterator[tuple[int, dict[str, str]]]:
    with file.path.open(newline="") as lines:
        for position, row in enumerate(csv.DictReader(lines), start=1):
            if position not in file.codes:
                yield position, row


def _line(file: File, row: Mapping[str, str], mark: int) -> Line:
    quantity = Decimal(row["quantity"])
    return Line(
        file.location, row["product_id"], _day(row["sold_at"], file.time_zone), int(quantity * MILLION),
        int(quantity * Decimal(row["unit_price"]) * MILLION), row["voided"] == "true", mark,
    )  # fmt: skip


@lru_cache(100_000)
def _day(sold_at: str, time_zone: str) -> int:
    return datetime.fromisoformat(sold_at).astimezone(ZoneInfo(time_zone)).toordinal()


@lru_cache(100_000)
def _missed(line: Line, before: Line | None) -> tuple[tuple[str, str, int], ...]:
    """What is said of a line when it comes: window, outcome and how many it missed.

    Of the line before it nothing is known any more when the last of its windows is closed.
    """
    found = Counter[tuple[str, str]]()
    if before is not None and not any(window.open_at(line.mark) for window in before.windows()):
        before = None
    if not (line.voided and before is not None and before.mark < line.mark):
        outcome = "not_replaced" if line.voided else "not_counted"
        found.update((window.name, outcome) for window in line.windows() if not window.open_at(line.mark))
    several = [(*said, count) for said, count in found.items()]
    if before is not None and not before.voided:
        held = (w for w in before.windows() if w.open_at(before.mark) and not w.open_at(line.mark))
        several += [(name, "not_replaced", count) for name, count in Counter(w.name for w in held).items()]
    return tuple(several)


def missummed(
    expected: Expected,
    told: Iterable[tuple[str, Mapping[str, Any] | None]],
    late: Iterable[Mapping[str, Any]],
) -> int:
    """How many windows stand in the topic otherwise than they must, and how many late sales are not named once.

    Args:
        expected: What must stand there.
        told: Key and record of each message of `sales-windows`, null for a tombstone, in the order of each partition.
        late: The records of `sales-late`.
    """
    standing: dict[str, Mapping[str, Any]] = {}
    again = set()
    for key, record in told:
        if key in standing and standing[key]["final"]:
            again.add(key)
        if record is None:
            standing.pop(key, None)
        else:
            standing[key] = record
    found: dict[Window, Sums] = {}
    wrong = len(again)
    for record in standing.values():
        begins, ends = (
            record[name].astimezone(ZoneInfo(record["time_zone"])) for name in ("starts_at", "ends_at")
        )
        window = Window(record["window"], record["location_id"], record["product_id"], begins.toordinal())
        days = ends.toordinal() - begins.toordinal()
        wrong += bool(begins.hour or ends.hour or days != SIZES_DAYS[window.name])
        found[window] = Sums(
            round(record["quantity"] * MILLION), round((record["revenue"] or 0) * MILLION), record["sales"],
            record["final"],
        )  # fmt: skip
    wrong += len(standing) - len(found)
    wrong += sum(found.get(window) != expected.windows.get(window) for window in found | expected.windows)
    named = Counter(
        Late(one["delivery_id"], one["position"], one["window"], one["outcome"], one["missed"])
        for one in late
    )
    return wrong + (named - expected.late).total() + (expected.late - named).total()
