"""How many requests each caller may make: a bucket that fills at a steady rate and holds a second's worth.

Guarantee: within any time of t seconds a caller gets at most rate × (t + 1) requests, at least one, in this
process. Memory is bounded: callers not heard of longest are forgotten, which is to their favour.
"""

from collections import OrderedDict

CALLERS_MAX = 10_000


class Rates:
    """The buckets of all callers. Used from the event loop only.

    Args:
        callers_max: Most callers remembered.
    """

    def __init__(self, callers_max: int = CALLERS_MAX) -> None:
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, per_s: float, now_s: float) -> float:
        """Take one request out of a caller's bucket.

        Args:
            caller: Whose bucket.
            per_s: Requests that flow into it in a second; it holds as many, but one at least.
            now_s: This moment, seconds of a steady clock.

        Returns:
            0 when the request may be answered, else the seconds until one may.
        """
        full = max(per_s, 1.0)
        held, at_s = self._buckets.pop(caller, (full, now_s))
        held = min(full, held + (now_s - at_s) * per_s)
        wait_s = 0.0 if held >= 1.0 else (1.0 - held) / per_s
        self._buckets[caller] = (held if wait_s else held - 1.0, now_s)
        if len(self._buckets) > self._callers_max:
            self._buckets.popitem(last=False)
        return wait_s
