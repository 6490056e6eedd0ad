"""What is delivered in a run holds what the checker looks for."""

from itertools import count
from pathlib import Path

from tests.faults.traffic import Traffic
from tests.faults.windows import expected_windows


def test_some_rounds_close_windows_and_have_late_sales_corrections_and_withdrawals(tmp_path: Path) -> None:
    traffic, ids = Traffic(tmp_path, 1, 2_000), count()
    delivered = {next(ids): file for number in range(8) for file in traffic.round(number)}
    last = next(ids)
    expected = expected_windows(delivered, {file.location: last for file in delivered.values()})
    finals = {window.name: sums.final for window, sums in expected.windows.items() if sums.final}
    assert finals.keys() == {"day", "week"}
    assert not all(sums.final for sums in expected.windows.values())
    assert {(late.name, late.outcome) for late in expected.late} == {
        (name, outcome) for name in ("day", "week") for outcome in ("not_counted", "not_replaced")
    }
    sales = sum(file.records - len(file.codes) for file in delivered.values() if file.location)
    in_days = sum(sums.sales for window, sums in expected.windows.items() if window.name == "day")
    assert 0.9 * sales < in_days < sales
