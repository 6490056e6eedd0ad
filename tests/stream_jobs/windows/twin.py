"""What windows must be, worked out record by record in plain Python, with nothing kept small and nothing fast."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_jobs.windows.kinds import Kind, Windows

DAY = 86_400_000_000
MONDAY = -3 * DAY
NEVER = -(2**62)


class Line(NamedTuple):
    """One record of one customer, as it came."""

    sale_id: str
    location_id: str
    product_id: str | None
    delivery_id: int
    position: int
    at: int
    quantity: int
    revenue: int | None
    voided: bool

    @property
    def version(self) -> tuple[int, int]:
        return self.delivery_id, self.position

    @property
    def series(self) -> tuple[str, str | None]:
        return self.location_id, self.product_id


class Window(NamedTuple):
    name: str
    location_id: str
    product_id: str | None
    start: int
    end: int


class Amount(NamedTuple):
    quantity: int
    revenue: int | None
    sales: int


class Late(NamedTuple):
    name: str
    sale_id: str
    version: tuple[int, int]
    start: int
    end: int
    missed: int
    late_us: int
    outcome: str


@dataclass
class Twin:
    """Every window of one partition."""

    windows: Windows
    tick: int
    turn_max: int
    seen: dict[str, int] = field(default_factory=dict)
    raw: dict[str, int] = field(default_factory=dict)
    mark: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: NEVER))
    known: dict[str, Line] = field(default_factory=dict)
    final: dict[Window, Amount] = field(default_factory=dict)
    held: dict[Window, set[Line]] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)
    arrived_under: dict[Line, int] = field(default_factory=dict)
    delivery: int = -1
    turn: int = 0

    def take(self, line: Line) -> None:
        if line.delivery_id > self.delivery or self.turn == self.turn_max:
            self.end_turn()
        self.delivery = max(self.delivery, line.delivery_id)
        self.turn += 1
        before = self.known.get(line.sale_id)
        replaces = before is not None and line.version > before.version
        self.name_late(line, before if replaces else None)
        if before is None or replaces:
            self.known[line.sale_id] = line
        if not line.voided:
            self.seen[line.location_id] = max(self.seen.get(line.location_id, NEVER), line.at)

    def end_turn(self) -> None:
        self.turn = 0
        for location, seen in self.seen.items():
            now = (seen - MONDAY) // self.tick * self.tick + MONDAY
            if now <= self.mark[location]:
                continue
            self.raw[location] = seen
            opened = self.open_windows(location)
            self.mark[location] = now
            for window, lines in opened.items():
                if self.closed(window):
                    self.final[window] = amount(lines)
                    self.held[window] = lines
            self.known = {
                sale: line
                for sale, line in self.known.items()
                if line.location_id != location or self.last_close(line) > now
            }

    def closed(self, window: Window) -> bool:
        return window.end + self.windows.grace_us <= self.mark[window.location_id]

    def last_close(self, line: Line) -> int:
        ends = []
        for kind in self.windows.kinds:
            starts = grid(kind, line.at)
            ends.append(max(starts) + kind.size_us if starts else line.at + kind.size_us)
        return max(ends) + self.windows.grace_us

    def open_windows(self, location: str | None = None) -> dict[Window, set[Line]]:
        """Every open window with a sale that counts in it."""
        lines: dict[tuple[str, str | None], list[Line]] = defaultdict(list)
        for line in self.known.values():
            if not line.voided and location in (None, line.location_id):
                lines[line.series].append(line)
        found: dict[Window, set[Line]] = {}
        for kind in self.windows.kinds:
            for some in lines.values():
                for window in {window for line in some for window in windows_of(kind, line)}:
                    if not self.closed(window):
                        found[window] = {line for line in some if holds(kind, window, line.at)}
        return found

    def name_late(self, line: Line, before: Line | None) -> None:
        told_before = False
        if before is not None:
            frozen = {window for window, lines in self.held.items() if before in lines}
            told_before = self.arrived_under[before] < self.mark[before.location_id]
            for kind in self.windows.kinds:
                self.tell(line, [w for w in windows_of(kind, before) if w in frozen], "not_replaced")
        self.arrived_under[line] = self.mark[line.location_id]
        if line.voided and told_before:
            return
        for kind in self.windows.kinds:
            missed = [window for window in windows_of(kind, line) if self.closed(window)]
            self.tell(line, missed, "not_replaced" if line.voided else "not_counted")

    def tell(self, line: Line, missed: list[Window], outcome: str) -> None:
        if not missed:
            return
        newest = max(missed, key=lambda window: window.end)
        late_us = self.raw[newest.location_id] - newest.end - self.windows.grace_us
        self.late.append(
            Late(
                newest.name,
                line.sale_id,
                line.version,
                newest.start,
                newest.end,
                len(missed),
                late_us,
                outcome,
            )
        )

    def published(self) -> dict[Window, tuple[Amount, bool]]:
        """What stands of every window at last: its sums, and whether they are final."""
        found = {window: (amount(lines), False) for window, lines in self.open_windows().items()}
        return found | {window: (value, True) for window, value in self.final.items()}


def amount(lines: set[Line]) -> Amount:
    prices = [line.revenue for line in lines if line.revenue is not None]
    return Amount(sum(line.quantity for line in lines), sum(prices) if prices else None, len(lines))


def grid(kind: Kind, at: int) -> list[int]:
    """The starts of the windows of a grid that hold a moment."""
    if kind.shape == "sliding":
        return []
    start, found = MONDAY + kind.hop_us * max((at - kind.size_us - MONDAY) // kind.hop_us, 0), []
    while start <= at:
        if start + kind.size_us > at:
            found.append(start)
        start += kind.hop_us
    return found


def windows_of(kind: Kind, line: Line) -> list[Window]:
    """The windows of a grid that hold a line; the sliding one that ends with it."""
    if kind.shape == "sliding":
        return [Window(kind.name, line.location_id, line.product_id, line.at - kind.size_us, line.at)]
    return [
        Window(kind.name, line.location_id, line.product_id, start, start + kind.size_us)
        for start in grid(kind, line.at)
    ]


def holds(kind: Kind, window: Window, at: int) -> bool:
    return window.start < at <= window.end if kind.shape == "sliding" else window.start <= at < window.end
