"""XML: what is not well-formed or tries to harm is refused, what is merely wrong is one defect."""

import io
import time
from pathlib import Path

import pytest

from infra.errors import DeliveryError
from stream_jobs.ingest.readers import read_blocks
from tests.stream_jobs.ingest.files import LIMITS, SALES, blocks, limits, read, sale, xml_file

GOOD = '<sale sale_id="{}" location_id="L" product_id="P" sold_at="2026-05-01T10:00:00Z" quantity="1"/>'
LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))


def document(*records: str) -> bytes:
    return f"<sales>{''.join(records)}</sales>".encode()


@pytest.mark.parametrize(
    "prolog",
    [
        f'<!DOCTYPE sales [<!ENTITY l0 "ha">{LAUGHS}]><sales><sale sale_id="&l9;"/></sales>',
        f'<!DOCTYPE sales [<!ENTITY l0 "ha">{LAUGHS}]><sales><sale><sale_id>&l9;</sale_id></sale></sales>',
        '<!DOCTYPE sales [<!ENTITY x SYSTEM "file://{file}">]><sales><sale><sale_id>&x;</sale_id></sale></sales>',
        '<!DOCTYPE sales SYSTEM "http://127.0.0.1:1/sales.dtd"><sales/>',
        f'<!DOCTYPE sales [<!ENTITY x "{"y" * 50_000}">]><sales><sale sale_id="{"&x;" * 5_000}"/></sales>',
        "<!DOCTYPE sales><sales/>",
    ],
    ids=["laughs-in-attribute", "laughs-in-text", "outside-file", "outside-dtd", "quadratic", "plain"],
)
def test_a_document_type_is_refused_before_anything_is_expanded(prolog: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    began = time.process_time()
    with pytest.raises(DeliveryError) as refused:
        blocks(prolog.replace("{file}", str(secret)).encode(), "xml")
    assert "secret" not in str(refused.value)
    assert time.process_time() - began < 5


def test_the_refusal_of_a_document_type_says_so() -> None:
    with pytest.raises(DeliveryError, match="found <!DOCTYPE"):
        blocks(b'<?xml version="1.0"?><!DOCTYPE sales [<!ENTITY x "y">]><sales/>', "xml")


def test_an_entity_that_is_not_xmls_own_is_a_break() -> None:
    with pytest.raises(DeliveryError, match="line 1, column"):
        blocks(document("<sale><sale_id>&x;</sale_id></sale>"), "xml")
    assert read(document(GOOD.format("&lt;&#65;&amp;")), "xml")["sale_id"].to_list() == ["<A&"]


@pytest.mark.parametrize("levels", [17, 200])
def test_a_record_too_deep_is_a_defect_and_one_beyond_the_parser_ends_the_file(levels: int) -> None:
    deep = "<x>" * levels + "</x>" * levels
    found = read(document(GOOD.format("a"), f"<sale>{deep}</sale>", GOOD.format("c")), "xml")
    assert found["sale_id"].to_list() == ["a", None, "c"]
    assert "at most 16 levels" in found["defect"][1]
    with pytest.raises(DeliveryError, match="well-formed"):
        blocks(document(f"<sale>{'<x>' * 100_000}{'</x>' * 100_000}</sale>"), "xml")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('<sold sale_id="b"/>', "expected the element <sale>, found <sold>"),
        ("b,L1,P1", "expected the element <sale>, found the text 'b,L1,P1'"),
        ("<sale><sale_id>b</sale_id><sale_id>c</sale_id></sale>", "sale_id: expected it once"),
        ('<sale sale_id="b"><sale_id>c</sale_id></sale>', "sale_id: expected it once"),
        (
            "<sale><sale_id><b>b</b></sale_id></sale>",
            "sale_id: expected a text or a number, found the element <b>",
        ),
        ('<sale sale_id="b" quantity="many"/>', "quantity: expected a number"),
    ],
)
def test_a_record_that_is_none_is_a_defect_of_that_record_alone(bad: str, reason: str) -> None:
    found = read(document(GOOD.format("a"), bad, GOOD.format("c")), "xml")
    assert found["defect"].is_null().to_list() == [True, False, True]
    assert reason in found["defect"][1]
    assert found["original"][1] == bad
    first = read(document(bad, GOOD.format("c")), "xml")
    assert first["defect"].is_null().to_list() == [False, True]


def test_a_break_half_way_is_told_with_its_place_and_what_came_before_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_jobs.ingest.xml_rows.BLOCK_BYTES", 1_000)
    data = xml_file([sale(number) for number in range(100)]).replace(b'sale_id="s80"', b'sale_id="s80')
    taken: list[int] = []
    with pytest.raises(DeliveryError, match=r"line 83, column \d+: expected well-formed XML"):
        taken.extend(block.rows for block in read_blocks(io.BytesIO(data), SALES, "xml", None, LIMITS))
    assert 60 < sum(taken) <= 80


@pytest.mark.parametrize(
    "data", [b"", b"   ", b"<sales>", b"<sales><sale", b"sale_id,location_id\n", b"<sales/><sales/>"]
)
def test_what_is_no_whole_document_is_refused(data: bytes) -> None:
    with pytest.raises(DeliveryError, match="expected well-formed XML"):
        blocks(data, "xml")


def test_a_root_without_records_is_a_file_without_records() -> None:
    assert sum(block.rows for block in blocks(b"<sales/>", "xml")) == 0


def test_another_root_is_named() -> None:
    with pytest.raises(DeliveryError, match="expected the root element <sales>; found <locations>"):
        blocks(b"<locations/>", "xml")


def test_namespaces_comments_and_declared_encodings_are_read() -> None:
    spaced = document(GOOD.format("a")).replace(b"<sales>", b'<sales xmlns="urn:x">')
    assert read(spaced, "xml")["sale_id"].to_list() == ["a"]
    assert read(document("<!-- x -->", "<?pi?>", GOOD.format("a")), "xml")["sale_id"].to_list() == ["a"]
    split = document("<sale><sale_id>a<!-- x -->b</sale_id></sale>")
    assert read(split, "xml")["sale_id"].to_list() == ["ab"]
    latin = b'<?xml version="1.0" encoding="ISO-8859-1"?>' + document(GOOD.format("M\xfc")).decode().encode(
        "latin-1"
    )
    assert read(latin, "xml")["sale_id"].to_list() == ["Mü"]
    wide = ('<?xml version="1.0" encoding="UTF-16"?>' + document(GOOD.format("ü")).decode()).encode("utf-16")
    assert read(wide, "xml")["sale_id"].to_list() == ["ü"]


def test_a_record_that_never_ends_is_refused_with_bounded_memory() -> None:
    endless = b"<sales><sale>" + b"<x/>" * 1_000_000
    with pytest.raises(DeliveryError, match="records of at most 100000 bytes"):
        blocks(endless, "xml", bounds=limits(record_bytes_max=100_000))


def test_elements_named_as_the_root_do_not_pile_up() -> None:
    found = read(document(*(f"<sale><sale_id>{n}</sale_id><sales/></sale>" for n in range(50))), "xml")
    assert found["sale_id"].to_list() == [str(n) for n in range(50)]


def test_a_prolog_without_end_is_refused() -> None:
    with pytest.raises(DeliveryError, match="root element within the first"):
        blocks(b"<!--" + b" " * 3_000_000, "xml")
