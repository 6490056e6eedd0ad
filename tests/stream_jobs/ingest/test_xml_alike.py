"""Records that are read without a parser, compared with what the parser reads."""

import io
import re
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.errors import DeliveryError
from stream_jobs.ingest import xml_rows
from stream_jobs.ingest.blocks import Block
from stream_jobs.ingest.xml_alike import shape_of, surroundings_of
from stream_jobs.ingest.xml_rows import _Passed, _streamed, _Taker, read_xml
from tests.stream_jobs.ingest.files import LIMITS, SALES, sale, xml_file

Found = tuple[list[tuple[str | None, ...]], list[str | None], str]
VALUES = st.sampled_from(
    ["", "s1", " s ", "ü€😀", "a>b", "it's", "a\tb", "a\nb", "a&amp;b", "&#10;", "]]", "\x1f", "\uffff"]
)
ODD = [
    '<sale location_id="L" sale_id="swapped"/>',
    '<sale sale_id="a" product_id="x" location_id="L"/>',
    "<sale sale_id='single' location_id='L'/>",
    '<sale sale_id="a"/>',
    "<sale><sale_id>a</sale_id><location_id>L</location_id></sale>",
    "<sale><sale_id>a<!-- c --></sale_id></sale>",
    '<sold sale_id="a" location_id="L"/>',
    "stray",
    "<!-- c -->",
    '<!-- <sale sale_id="a" location_id="L"/>',
    "-->",
    "<![CDATA[",
    "]]>",
    "<?pi?>",
    '<sale sale_id="a" location_id="L">',
    "</sale>",
    '<sale sale_id="a" location_id="L"/><sales/>',
    "&x;",
    '<sale sale_id="a\x02b" location_id="L"/>',
    '<sale xmlns="urn:x" sale_id="a" location_id="L"/>',
]


def written(kind: str, sale_id: str, location_id: str) -> str:
    if kind == "attributes":
        return f'<sale sale_id="{sale_id}" location_id="{location_id}"/>'
    return f"<sale>\n <sale_id>{sale_id}</sale_id>\n <location_id>{location_id}</location_id></sale>"


def found(blocks: Iterator[Block]) -> Found:
    rows: list[tuple[str | None, ...]] = []
    defects: list[str | None] = []
    try:
        for block in blocks:
            # An empty text and a missing one are the same to all that follows.
            values = block.columns.with_columns(pl.all().replace("", None))
            missing = [
                pl.lit(None, pl.String).alias(name)
                for name in SALES.field_names
                if name not in values.columns
            ]
            rows.extend(values.with_columns(missing).select(SALES.field_names).rows())
            defects.extend(block.defects.to_list())
    except DeliveryError as error:
        return rows, defects, str(error)
    return rows, defects, ""


def by_the_parser(opening: bytes, rest: bytes, namespace: str) -> Found:
    tag = f"{{{namespace}}}sales" if namespace else "sales"
    return found(
        _streamed(io.BytesIO(rest), tag, opening, b"", _Passed(), _Taker(SALES, namespace or None, LIMITS))
    )


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["attributes", "elements"]),
    records=st.lists(st.tuples(VALUES, VALUES) | st.sampled_from(ODD), max_size=12),
    declaration=st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>\n<!-- sales -->\n']),
    namespace=st.sampled_from(["", "urn:x"]),
    space=st.sampled_from(["", "\n", "\n\t"]),
    block_bytes=st.integers(40, 400),
)
@example("attributes", [("a", "L")] * 3 + ['<sale sale_id="b\x02L"/>'], "", "", "\n", 100)
@example("attributes", [("a", "L")] * 4 + ["<![CDATA[", ("b", "L"), "]]>", ("c", "L")], "", "", "\n", 60)
def test_what_is_read_without_a_parser_is_what_the_parser_reads(
    kind: str,
    records: list[tuple[str, str] | str],
    declaration: str,
    namespace: str,
    space: str,
    block_bytes: int,
) -> None:
    texts = [written(kind, "1", "L"), written(kind, "2", "L")]
    texts += [one if isinstance(one, str) else written(kind, *one) for one in records]
    root = f'<sales xmlns="{namespace}">' if namespace else "<sales>"
    opening, rest = f"{declaration}{root}", f"{''.join(space + text for text in texts)}{space}</sales>\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml_rows, "PROLOG_PIECE_BYTES", len(opening))
        patch.setattr(xml_rows, "BLOCK_BYTES", block_bytes)
        rows, defects, refusal = found(read_xml(io.BytesIO((opening + rest).encode()), SALES, LIMITS))
    known_rows, known_defects, known_refusal = by_the_parser(opening.encode(), rest.encode(), namespace)
    # libxml2 itself counts columns in one way or another, depending on how the pieces are cut.
    assert re.sub(r"column \d+", "", refusal) == re.sub(r"column \d+", "", known_refusal)
    if not refusal:
        assert (rows, defects) == (known_rows, known_defects)
    else:
        # The parser in one go may hand on less before a break, never other records.
        few = min(len(rows), len(known_rows))
        assert (rows[:few], defects[:few]) == (known_rows[:few], known_defects[:few])


@pytest.mark.parametrize("elements", [False, True])
def test_records_of_a_program_need_no_parser_and_show_as_delivered(elements: bool) -> None:
    data = xml_file([sale(number) for number in range(20)], elements=elements)
    around = surroundings_of(data, "sales")
    assert around is not None
    records = data[len(around.opening) :].removesuffix(b"</sales>\n").removesuffix(b"</sales>")
    shape = shape_of(records, "sale")
    assert shape is not None
    columns = shape.columns(records, utf8=around.utf8)
    assert columns is not None
    assert columns["sale_id"].to_list() == [f"s{number}" for number in range(20)]
    (block,) = _Taker(SALES, None, LIMITS).alike(columns, records, shape.end)
    assert block.originals([3])[0].encode() in data
    assert "s3" in block.originals([3])[0]


def test_bytes_beyond_ascii_are_left_to_the_parser_where_they_are_no_utf8() -> None:
    opening = b'<?xml version="1.0" encoding="ISO-8859-1"?><sales>'
    record = '\n<sale sale_id="{}" location_id="L"/>'
    around = surroundings_of(opening, "sales")
    shape = shape_of((record * 2).encode(), "sale")
    assert around is not None
    assert shape is not None
    assert shape.columns((record * 2).encode(), utf8=around.utf8) is not None
    assert shape.columns(record.format("M\xfc").encode("latin-1"), utf8=around.utf8) is None
    assert surroundings_of(opening.replace(b"ISO-8859-1", b"UTF-7"), "sales") is None
    assert surroundings_of(b"<!--" + b"--><!--" * 5_000, "sales") is None
