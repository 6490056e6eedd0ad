"""Which windows are kept: their shapes, where they begin and end, and when they close.

Pure. Times are microseconds on the location's own clock, counted from 1970 (see `stream_jobs.local_days`), so that a
day is the location's day. Tumbling and hopping windows lie on a grid that begins with a Monday, start included
and end not. A sliding window ends with a sale and reaches back over its size: end included and start not.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

from infra.errors import SettingError

Shape = Literal["tumbling", "hopping", "sliding"]

DAY_US = 86_400_000_000
MONDAY_US = -3 * DAY_US
"""A Monday's midnight, where grids begin; 1970 began with a Thursday."""

HOPS_MAX = 400
"""Most windows of one name that a sale may lie in."""

_UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": DAY_US}
_DURATION = re.compile(r"([1-9]\d{0,5})([mhd])")
_KIND = re.compile(r"([a-z][a-z0-9_-]{0,31})=(tumbling|hopping|sliding):([^/]+)(?:/(.+))?")
_EXPECTED = "expected such as day=tumbling:1d, week=hopping:7d/1d, hour=sliding:1h"


@dataclass(frozen=True, slots=True)
class Kind:
    """All windows of one name.

    Attributes:
        name: Name, such as `day`.
        shape: tumbling, hopping or sliding.
        size_us: Length, microseconds.
        hop_us: Distance from one start to the next, microseconds; a divisor of the size. Sliding windows have
            none, and 0 stands for it.
    """

    name: str
    shape: Shape
    size_us: int
    hop_us: int

    @property
    def hops(self) -> int:
        """How many of the grid's windows a sale lies in."""
        return self.size_us // self.hop_us

    def newest_start(self, at: pl.Expr) -> pl.Expr:
        """Start of the last window of the grid that holds a moment."""
        return floored(at, self.hop_us)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that are kept.

    Attributes:
        kinds: The kinds, by name.
        grace_us: How long after its end a window stays open, microseconds of the sales' own time.
    """

    kinds: tuple[Kind, ...]
    grace_us: int

    @classmethod
    def parsed(cls, kinds: str, grace: str) -> "Windows":
        """The windows that two settings name.

        Args:
            kinds: Such as `day=tumbling:1d, week=hopping:7d/1d, hour=sliding:1h`.
            grace: Such as `2d`; `0d` for none.

        Raises:
            SettingError: They cannot be meant.
        """
        found = [_kind(text.strip()) for text in kinds.split(",") if text.strip()]
        names = [kind.name for kind in found]
        if not found or len(set(names)) < len(names):
            raise SettingError(f"HEADRACE_STREAM__WINDOWS: {_EXPECTED}, each name once; found {kinds!r}")
        zero = grace in ("0m", "0h", "0d")
        return cls(tuple(found), 0 if zero else _duration_us(grace, "HEADRACE_STREAM__WINDOW_GRACE"))

    @property
    def grids(self) -> tuple[Kind, ...]:
        """The tumbling and hopping kinds."""
        return tuple(kind for kind in self.kinds if kind.shape != "sliding")

    @property
    def slides(self) -> tuple[Kind, ...]:
        """The sliding kinds."""
        return tuple(kind for kind in self.kinds if kind.shape == "sliding")

    @property
    def tick_us(self) -> int:
        """The step in which watermarks move: every window of a grid closes at a multiple of it from `MONDAY_US`."""
        steps = (step for kind in self.kinds for step in (kind.size_us, kind.hop_us))
        return math.gcd(self.grace_us, *steps)

    @property
    def text(self) -> str:
        """The same windows have the same text."""
        kinds = (f"{kind.name}={kind.shape}:{kind.size_us}/{kind.hop_us}" for kind in self.kinds)
        return f"{','.join(sorted(kinds))};{self.grace_us}"

    def last_close(self, at: pl.Expr) -> pl.Expr:
        """The watermark at which the last window that holds a moment closes."""
        ends = [kind.newest_start(at) + kind.size_us for kind in self.grids]
        ends += [at + kind.size_us for kind in self.slides]
        return pl.max_horizontal(ends) + self.grace_us


def floored(at: pl.Expr, step_us: int) -> pl.Expr:
    """The last multiple of a step, counted from `MONDAY_US`, that is not after a moment."""
    return (at - MONDAY_US).floordiv(step_us) * step_us + MONDAY_US


def _kind(text: str) -> Kind:
    found = _KIND.fullmatch(text.replace(" ", ""))
    if found is None:
        raise SettingError(f"HEADRACE_STREAM__WINDOWS: {_EXPECTED}; found {text!r}")
    name, shape, size, hop = found.groups()
    size_us = _duration_us(size, "HEADRACE_STREAM__WINDOWS")
    if shape == "sliding" and hop is None:
        return Kind(name, "sliding", size_us, 0)
    if shape == "tumbling" and hop is None:
        return Kind(name, "tumbling", size_us, size_us)
    if shape == "hopping" and hop is not None:
        hop_us = _duration_us(hop, "HEADRACE_STREAM__WINDOWS")
        if size_us % hop_us == 0 and size_us // hop_us <= HOPS_MAX:
            return Kind(name, "hopping", size_us, hop_us)
        raise SettingError(
            f"HEADRACE_STREAM__WINDOWS: expected a size that is at most {HOPS_MAX} times its hop and a multiple of "
            f"it; found {text!r}"
        )
    raise SettingError(
        f"HEADRACE_STREAM__WINDOWS: a hopping window has size/hop, the others have a size only; found {text!r}"
    )


def _duration_us(text: str, setting: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise SettingError(f"{setting}: expected a duration such as 90m, 12h or 7d; found {text!r}")
    return int(found.group(1)) * _UNITS_US[found.group(2)]
