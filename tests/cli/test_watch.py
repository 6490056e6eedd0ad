"""The screen of `headrace status --watch`."""

import io

from rich.console import Console

from cli.stack import PartView
from cli.watch import Moment, screen, watched
from infra.errors import UnavailableError
from infra.settings import Settings
from serving.ports import Lag
from tests.cli.commands import headrace


def moment(at_s: float, done: int, behind: int) -> Moment:
    parts = [PartView("validate", "running", True, "", ""), PartView("join", "fatal", False, "", "")]
    lags = [Lag("validate", "sales-input", number, behind, done + behind) for number in range(2)]
    return Moment(at_s, parts, lags, [])


def shown(*arguments: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen(*arguments))  # type: ignore[arg-type]
    return console.export_text()


def test_speeds_are_those_since_the_moment_before() -> None:
    text = shown(moment(1.0, 100, 50), moment(3.0, 1100, 7), 40)
    (line,) = [line for line in text.splitlines() if "sales-input" in line]
    assert line.split()[-2:] == ["14", "1,000"]
    assert "fatal" in text
    (first,) = [line for line in shown(None, moment(1.0, 100, 50), 40).splitlines() if "sales-input" in line]
    assert first.split()[-1] == "100"


def test_while_the_brokers_do_not_answer_the_screen_keeps_what_it_showed() -> None:
    moments = iter([moment(1.0, 1, 0), None, moment(3.0, 5, 0)])

    def look() -> Moment:
        found = next(moments)
        if found is None:
            raise UnavailableError("the brokers are away")
        return found

    output = io.StringIO()
    watched(Console(width=120, height=40, file=output, force_terminal=True), look, rounds=3)
    _, first, away, again = output.getvalue().split("Lag")
    assert "the brokers are away" in first
    assert "sales-input" in away
    assert "1,000" not in again
    assert "the brokers are away" in shown(None, None, 40, "the brokers are away")


def test_without_a_stack_there_is_nothing_to_watch(offline_settings: Settings) -> None:
    done = headrace(offline_settings, "status", "--watch")
    assert done.returncode == 3
    assert "headrace up" in done.stdout
