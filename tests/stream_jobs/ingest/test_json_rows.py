"""JSON Lines: a bad line is a defect of that line alone, whatever it tries."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream_jobs.ingest.files import limits, read

GOOD = '{"sale_id":"a","location_id":"L","product_id":"P","sold_at":"2026-05-01T10:00:00Z","quantity":1}'


def read_lines(*lines: str) -> pl.DataFrame:
    return read("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"), "jsonl")


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "5",
        "null",
        '"text"',
        "[1]",
        "{",
        '{"sale_id":"a"',
        '{"sale_id":"a"} x',
        '{"sale_id":"a"},{"sale_id":"b"}',
        '{"sale_id":"a"},"x":1',
        '{"sale_id":"a"}],"n":1},{"r":[{}',
        '{"sale_id":"a"}],"n":7,"x":[1',
        '{"sale_id":["a"]}',
        '{"sale_id":{"a":1}}',
        '{"quantity":1e400}',
        '{"quantity":NaN}',
        '{"sale_id":"\\ud800"}',
        '{"sale_id":"a\\u0000b"}',
        '{"x":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}',
        '{"x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"quantity":"many"}',
    ],
)
def test_a_bad_line_is_a_defect_of_that_line_alone(bad: str) -> None:
    found = read_lines(GOOD, bad, GOOD)
    assert found["defect"].is_null().to_list() == [True, False, True]
    assert found["sale_id"].to_list()[0::2] == ["a", "a"]
    assert found["original"][1] == (bad if len(bad) < 4_000 else bad[:3_999] + "…")


def test_halves_of_an_array_on_several_lines_do_not_become_one_record() -> None:
    found = read_lines(GOOD, '{"x":[{"b":1}', '{"c":1}]}', '{"x":1},{"y":1}', GOOD)
    assert found["defect"].is_null().to_list() == [True, False, False, False, True]


def test_deep_values_within_the_bound_and_both_halves_of_a_character_are_good() -> None:
    deep = GOOD[:-1] + ',"x":' + "[" * 15 + "]" * 15 + "}"
    found = read_lines(
        deep, GOOD.replace('"a"', '"\\ud83d\\ude00"'), GOOD.replace('"L"', '"[[[[[[[[[[[[[[[[[[[["')
    )
    assert found["defect"].null_count() == 3
    assert found["sale_id"][1] == "😀"


def test_numbers_may_be_texts_and_ids_may_be_numbers() -> None:
    found = read_lines(GOOD.replace('"a"', "17").replace("1}", '"1e2"}'), GOOD.replace("1}", "0.1}"))
    assert found["sale_id"].to_list() == ["17", "a"]
    assert found["quantity"].to_list() == [100.0, 0.1]


def test_empty_lines_are_no_records() -> None:
    assert read_lines("", GOOD, "  ", "\r", GOOD).height == 2


def test_a_line_that_is_too_long_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", 1000)
    data = f'{GOOD}\n{GOOD[:-1]},"x":"{"y" * 50_000}"}}\n{GOOD}\n'.encode()
    found = read(data, "jsonl", bounds=limits(record_bytes_max=5_000))
    assert found["defect"].is_null().to_list() == [True, False, True]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "sale_id": st.text(
                    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=5
                ),
                "quantity": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
                "voided": st.booleans(),
                "other": st.lists(st.integers() | st.none(), max_size=2),
            },
        ),
        min_size=1,
        max_size=10,
    )
)
def test_objects_are_read_as_pythons_own_reader_reads_them(rows: list[dict[str, object]]) -> None:
    found = read_lines(*(json.dumps(row) for row in rows))
    assert found["defect"].null_count() == len(rows)
    assert found["sale_id"].to_list() == [row.get("sale_id") or None for row in rows]
    assert found["voided"].to_list() == [row.get("voided", False) for row in rows]
    expected = [float(str(row["quantity"])) for row in rows if "quantity" in row]
    assert found["quantity"].is_not_null().to_list() == ["quantity" in row for row in rows]
    assert found["quantity"].drop_nulls().to_list() == pytest.approx(expected, rel=1e-15)
