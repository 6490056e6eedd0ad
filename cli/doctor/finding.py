"""What a look at one thing found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from infra.errors import HeadraceError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        found: What was found.
        remedy: What to do; empty when nothing is wrong.
    """

    what: str
    found: str
    remedy: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is to be done."""
        return not self.remedy


def guarded(what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a look; an error that ends it is one of them, for its text says what to do."""
    try:
        yield from look()
    except HeadraceError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding(what, found, remedy or "see docs/runbook.md")
