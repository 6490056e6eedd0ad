"""CSV: a bad line is a defect of that line alone, and good ones are read as Python reads them."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import DeliveryError
from stream_jobs.ingest.csv_rows import split
from tests.stream_jobs.ingest.files import blocks, csv_file, limits, read, sale

FIELDS = "sale_id,location_id,product_id,sold_at,quantity"
GOOD = "{},L1,P1,2026-05-01T10:00:00Z,1"


def lines(*records: str) -> bytes:
    return "\n".join([FIELDS, *records, ""]).encode()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("b,L1,P1", "expected 5 fields as in the header, found 3"),
        ("b,L1,P1,2026-05-01T10:00:00Z,1,9", "expected 5 fields as in the header, found 6"),
        ('b,"L1,P1,2026-05-01T10:00:00Z,1', "found broken ones"),
        ('b,L"1,P1,2026-05-01T10:00:00Z,1', "found broken ones"),
        ('b,"L1"x,P1,2026-05-01T10:00:00Z,1', "found broken ones"),
        ('"b,"L1",P1,2026-05-01T10:00:00Z,1', "found broken ones"),
        ("b" * 1001 + ",L1,P1,2026-05-01T10:00:00Z,1", "sale_id: expected at most 1000 characters"),
        ("b,L1,P1,2026-05-01T10:00:00Z,1,5", "quantity: expected a number such as 12.5, found '1,5'"),
        ("b,L1,P1,01.05.2026 10:00,1", "sold_at: expected an ISO 8601 time"),
        ("b,L1,P1,2026-05-01,1", "sold_at: expected an ISO 8601 time"),
        ("b,L1,P1,0026-05-01T10:00:00Z,x", "quantity: expected a number such as 12.5, found 'x'"),
    ],
)
def test_a_broken_line_is_a_defect_of_that_line_alone(bad: str, reason: str) -> None:
    if "1,5'" in reason:
        bad = bad.replace("1,5", '"1,5"')
    found = read(lines(GOOD.format("a"), bad, GOOD.format("c"), '"d",L1,P1,2026-05-01T10:00:00Z,1'), "csv")
    assert found.height == 4
    assert found["sale_id"].to_list()[0::2] == ["a", "c"]
    assert found["defect"].is_null().to_list() == [True, False, True, True]
    assert reason in found["defect"][1]
    assert found["original"][1] == bad


def test_all_that_cannot_be_read_in_a_record_is_said_and_the_rest_is_kept() -> None:
    found = read(lines("b,L1,P1,yesterday,many"), "csv").row(0, named=True)
    assert found["defect"].startswith("sold_at: expected")
    assert "; quantity: expected a number such as 12.5, found 'many'" in found["defect"]
    assert (found["sale_id"], found["location_id"], found["quantity"]) == ("b", "L1", None)


def test_bytes_that_are_no_utf8_spoil_their_line_only() -> None:
    data = lines(GOOD.format("a"), GOOD.format("M\xfcnchen"), GOOD.format("c")).decode().encode("latin-1")
    found = read(data, "csv")
    assert found["defect"].is_null().to_list() == [True, False, True]
    assert "UTF-8" in found["defect"][1]


def test_quoted_line_breaks_separators_and_quotes_are_part_of_a_field() -> None:
    found = read(lines('"a\n""x"", y",L1,P1,2026-05-01T10:00:00Z,"1"', GOOD.format("b")), "csv")
    assert found["sale_id"].to_list() == [None, "b"]
    assert "control characters" in found["defect"][0]
    names = read(b'product_id,name\nP1,"a, ""b"""\n', "csv", "products")
    assert names["name"].to_list() == ['a, "b"']


def test_empty_lines_are_no_records() -> None:
    data = lines("", GOOD.format("a"), "", "", GOOD.format("b"), "").replace(b"\n", b"\r\n")
    assert read(data, "csv")["sale_id"].to_list() == ["a", "b"]


def test_the_last_line_needs_no_line_end() -> None:
    assert read(lines(GOOD.format("a")).rstrip(), "csv")["sale_id"].to_list() == ["a"]


def test_a_header_alone_is_a_file_without_records_and_no_header_is_refused() -> None:
    assert blocks(lines(), "csv") == []
    with pytest.raises(DeliveryError, match="found an empty file"):
        blocks(b"", "csv")


def test_a_missing_field_is_named_with_what_was_found() -> None:
    with pytest.raises(DeliveryError, match=r"missing sold_at; found 'sale_id', 'location_id', 'product_id'"):
        blocks(b"sale_id,location_id,product_id,quantity\n", "csv")
    with pytest.raises(DeliveryError, match="found quantity more than once"):
        blocks(FIELDS.encode() + b",quantity\n", "csv")
    with pytest.raises(DeliveryError, match="UTF-16"):
        blocks(FIELDS.encode("utf-16"), "csv")


def test_unknown_and_reordered_fields_do_not_matter() -> None:
    rows = [{"note": "x", **dict(reversed(sale(number).items()))} for number in range(3)]
    assert read(csv_file(rows), "csv")["sale_id"].to_list() == ["s0", "s1", "s2"]


def test_a_line_beyond_all_bounds_is_one_defect_and_is_not_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", 4096)
    data = lines(GOOD.format("a"), GOOD.format("x" * 300_000), GOOD.format("c"))
    found = read(data, "csv", bounds=limits(record_bytes_max=10_000))
    assert found["sale_id"].to_list() == ["a", None, "c"]
    assert "at most 10000 bytes" in found["defect"][1]
    assert len(found["original"][1]) == 4_000


def test_quotes_that_never_close_cost_one_line_even_when_blocks_are_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_jobs.ingest.lines.BLOCK_BYTES", 256)
    good = [GOOD.format(f"s{number}") for number in range(300)]
    data = lines('"open' + good[0], *good)
    found = read(data, "csv", bounds=limits(record_bytes_max=2_000))
    assert found["sale_id"].to_list() == [None, *(f"s{number}" for number in range(300))]
    assert found["defect"].null_count() == 300


TEXTS = st.text(st.sampled_from('ab",;\n \té'), max_size=6)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(TEXTS, min_size=3, max_size=3), min_size=1, max_size=12), minimal=st.booleans())
def test_well_formed_csv_splits_as_pythons_reader_splits_it(rows: list[list[str]], minimal: bool) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL if minimal else csv.QUOTE_ALL).writerows(
        rows
    )
    data = text.getvalue().encode()
    records = split(data, ",", 10_000, final=True)
    starts = [0, *(records.ends[:-1] + 1).tolist()]
    pieces = [data[start:end].decode() for start, end in zip(starts, records.ends.tolist(), strict=True)]
    assert [next(csv.reader(io.StringIO(piece, newline=""))) for piece in pieces] == rows
    assert records.fields.tolist() == [3] * len(rows)
    assert not records.broken.any()


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.sampled_from('a",\n'), max_size=60), cut=st.integers(0, 60))
def test_any_text_splits_the_same_in_one_piece_or_two(text: str, cut: int) -> None:
    data = text.encode() + b"\n"
    whole = split(data, ",", 10_000, final=True)
    first = data[: data.rfind(b"\n", 0, cut) + 1]
    part = split(first, ",", 10_000, final=False)
    taken = int(part.ends[-1]) + 1 if len(part.ends) else 0
    rest = split(data[taken:], ",", 10_000, final=True)
    assert whole.ends.tolist() == [*part.ends.tolist(), *(rest.ends + taken).tolist()]
    assert whole.broken.tolist() == [*part.broken.tolist(), *rest.broken.tolist()]
    assert whole.ends[-1] == len(data) - 1


@settings(max_examples=20, deadline=None)
@given(names=st.lists(TEXTS, min_size=1, max_size=8))
def test_fields_are_read_as_pythons_reader_reads_them(names: list[str]) -> None:
    rows = [{"product_id": f"P{number}", "name": name} for number, name in enumerate(names)]
    found = pl.concat([block.columns for block in blocks(csv_file(rows), "csv", "products")])
    assert found["name"].fill_null("").to_list() == names
