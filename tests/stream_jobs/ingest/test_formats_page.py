"""The page on formats, its examples and its XML schema say what the readers do."""

import io
import re
from pathlib import Path

import polars as pl
import pytest
from lxml import etree
from polars.testing import assert_frame_equal

from infra.settings import IngestSettings
from stream_jobs.ingest.contents import CONTENTS
from tests.stream_jobs.ingest.files import LIMITS, read, sale, xml_file

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "formats.md").read_text(encoding="utf-8")
EXAMPLES = DOCS / "formats"


def example(content: str, file_format: str) -> bytes:
    return (EXAMPLES / f"{content}.{file_format}").read_bytes()


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(EXAMPLES / "headrace-deliveries.xsd"))


@pytest.mark.parametrize("content", CONTENTS)
def test_the_examples_of_a_content_are_the_same_records_in_every_format(content: str) -> None:
    found = read(example(content, "csv"), "csv", content)
    assert found.height >= 2
    assert found["defect"].null_count() == found.height
    assert_frame_equal(read(example(content, "xml"), "xml", content), found)
    assert_frame_equal(read(example(content, "jsonl"), "jsonl", content), found)
    target = io.BytesIO()
    pl.read_csv(EXAMPLES / f"{content}.csv", try_parse_dates=True).write_parquet(target)
    assert_frame_equal(read(target.getvalue(), "parquet", content), found)


@pytest.mark.parametrize("content", CONTENTS)
def test_the_xml_schema_takes_the_examples(content: str, schema: etree.XMLSchema) -> None:
    schema.assertValid(etree.fromstring(example(content, "xml")))


@pytest.mark.parametrize(
    "change", [{"quantity": "many"}, {"sold_at": "1 May"}, {"voided": "ja"}, {"sale_id": "x" * 1001}]
)
def test_the_xml_schema_and_the_reader_refuse_the_same_values(
    change: dict[str, str], schema: etree.XMLSchema
) -> None:
    for elements in (False, True):
        good, bad = (xml_file([sale(1, **fields)], elements=elements) for fields in ({}, change))
        assert schema.validate(etree.fromstring(good))
        assert not schema.validate(etree.fromstring(bad))
        assert read(bad, "xml")["defect"].null_count() == 0


def test_the_page_names_every_field_and_whether_it_is_needed() -> None:
    for content in CONTENTS.values():
        section = PAGE.split(f"### {content.name}\n", 1)[1].split("\n#", 1)[0]
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", section, flags=re.MULTILINE)
        expected = [
            (field.name, field.kind, "required" if field.required else _default(field.default))
            for field in content.fields
        ]
        assert [(name, kind, needed.strip()) for name, kind, needed in rows] == expected


def _default(value: str | bool | None) -> str:
    if value is None:
        return ""
    return f"default {str(value).lower() if isinstance(value, bool) else value}"


def test_the_page_names_every_limit_with_its_default() -> None:
    shown = {
        "file_bytes_max": f"{LIMITS.file_bytes_max // 2**30} GiB",
        "expanded_bytes_max": f"{LIMITS.expanded_bytes_max // 2**30} GiB",
        "record_bytes_max": f"{LIMITS.record_bytes_max // 2**20} MiB",
        "expansion_max": str(LIMITS.expansion_max),
        "upload_bytes_per_s_min": f"{IngestSettings().upload_bytes_per_s_min:,} bytes/s",
        "depth_max": str(LIMITS.depth_max),
        "text_chars_max": f"{LIMITS.text_chars_max:,} characters",
    }
    assert set(shown) | {"chunk_rows", "inbox", "inbox_poll_s"} == set(IngestSettings.model_fields)
    for name, default in shown.items():
        assert re.search(rf"`HEADRACE_INGEST__{name.upper()}` \| {default} \|", PAGE)


def test_the_page_links_to_files_that_are_there() -> None:
    for target in re.findall(r"\]\((formats/[^)]+)\)", PAGE):
        assert (DOCS / target).is_file(), target
