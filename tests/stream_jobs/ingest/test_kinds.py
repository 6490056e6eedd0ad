"""What kind of file it is, told from its name and first bytes."""

import io

import pytest

from infra.errors import DeliveryError
from stream_jobs.ingest.kinds import FileKind, kind_of
from tests.stream_jobs.ingest.files import LIMITS, csv_file, file_of, json_file, packed, sale, xml_file


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("file_format", ["xml", "csv", "jsonl", "parquet"])
def test_the_bytes_alone_tell_format_and_compression(file_format: str, compression: str | None) -> None:
    data = packed(file_of(file_format, [sale(1)]), compression)
    found = kind_of(io.BytesIO(data), "sales", "upload", LIMITS)
    assert found == FileKind("sales", file_format, compression)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sales-2026-05.csv", ("sales", "csv")),
        ("Locations.CSV", ("locations", "csv")),
        ("folder/prices_may.tsv", ("prices", "csv")),
        ("products.csv.gz", ("products", "csv")),
        ("events.ndjson.zst", ("events", "jsonl")),
    ],
)
def test_the_name_tells_content_and_format(name: str, kind: tuple[str, str]) -> None:
    found = kind_of(
        io.BytesIO(b"x,y\n"), None, name, LIMITS
    )  # A first line that is broken is no other format.
    assert (found.content, found.format) == kind
    assert found.compression is None, "a name that says gzip does not make plain bytes gzip"


def test_the_root_of_xml_tells_the_content_when_nothing_else_does() -> None:
    found = kind_of(io.BytesIO(packed(xml_file([sale(1)]), "gzip")), None, "upload", LIMITS)
    assert found == FileKind("sales", "xml", "gzip")


@pytest.mark.parametrize(
    ("data", "content", "name", "reason"),
    [
        (b"", "sales", "sales.csv", "found an empty one"),
        (b"hello", "sales", "upload", "cannot tell the file's format"),
        (json_file([sale(1)]), None, "upload", "cannot tell what the file holds"),
        (csv_file([sale(1)]), "orders", "upload", "expected one of sales, locations"),
        (b"<other/>", None, "upload", "cannot tell what the file holds"),
        (b"<!DOCTYPE x><sales/>", None, "upload", "DOCTYPE"),
    ],
)
def test_what_cannot_be_told_is_refused_in_words(
    data: bytes, content: str | None, name: str, reason: str
) -> None:
    with pytest.raises(DeliveryError, match=reason):
        kind_of(io.BytesIO(data), content, name, LIMITS)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize(
    ("data", "name", "found"),
    [
        (b"PK\x03\x04\x14\x00", "sales.csv", "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "sales.xml", "a picture"),
        (b"%PDF-1.7", "sales.jsonl", "a PDF"),
        (xml_file([sale(1)]), "sales.csv", "XML"),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><sales/>", "sales.jsonl", "XML"),
        (json_file([sale(1)]), "sales.xml", "JSON"),
        (json_file([sale(1)]), "sales.csv.gz", "JSON"),
        (b'[{"sale_id": "1"}]', "sales.json", "a JSON array"),
        (csv_file([sale(1)]), "sales.parquet", "something else"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    data: bytes, name: str, found: str, compression: str | None
) -> None:
    with pytest.raises(DeliveryError, match=f"as the name {name!r} says; found {found}"):
        kind_of(io.BytesIO(packed(data, compression)), None, name, LIMITS)


def test_a_file_that_is_packed_twice_is_refused() -> None:
    with pytest.raises(DeliveryError, match="found a file packed twice"):
        kind_of(io.BytesIO(packed(packed(csv_file([sale(1)]), "zstd"), "gzip")), None, "sales.csv.gz", LIMITS)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"{broken\n" + json_file([sale(1)]), "sales.jsonl"),
        (b"<\xc3,1\n", "sales.csv"),
        ("<sales/>".encode("utf-16"), "sales.xml"),
        (csv_file([sale(1)]), "sales.txt"),
    ],
)
def test_what_may_be_what_its_name_says_is_taken(data: bytes, name: str) -> None:
    assert kind_of(io.BytesIO(data), None, name, LIMITS).content == "sales"
