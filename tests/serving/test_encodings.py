"""Packed answers: only for those who can unpack them, and the same bytes then."""

import gzip
import io

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from serving.encodings import Encoding, accepted, packed, packed_pieces
from tests.serving import lake_content as content


def unpacked(body: bytes, encoding: Encoding) -> bytes:
    if encoding is Encoding.GZIP:
        return gzip.decompress(body)
    return bytes(pa.CompressedInputStream(pa.BufferReader(body), "zstd").read())


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, None),
        ("", None),
        ("br, deflate", None),
        ("gzip, deflate", Encoding.GZIP),
        ("gzip, deflate, br, zstd", Encoding.ZSTD),
        ("GZIP ; q=1.0", Encoding.GZIP),
        ("*", Encoding.ZSTD),
        ("*;q=0", None),
        ("zstd;q=0, *", Encoding.GZIP),
        ("zstd;q=0.2, gzip;q=0.8", Encoding.GZIP),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=much", None),
    ],
)
def test_the_encoding_is_what_the_caller_prefers(header: str | None, encoding: Encoding | None) -> None:
    assert accepted(header) == encoding


@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_is_packed_in_pieces_unpacks_to_the_whole(encoding: Encoding) -> None:
    pieces = [bytes([number % 251]) * number for number in range(300)]
    assert unpacked(b"".join(packed_pieces(pieces, encoding)), encoding) == b"".join(pieces)
    assert unpacked(packed(b"", encoding), encoding) == b""


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_large_answer_is_packed_and_a_small_one_is_not(client: TestClient, encoding: Encoding) -> None:
    parameters = {"customer_id": content.CUSTOMER}
    plain = client.get("/v1/forecasts", params=parameters, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with client.stream(
        "GET", "/v1/forecasts", params=parameters, headers={"Accept-Encoding": encoding.value}
    ) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == encoding.value
    assert "Accept-Encoding" in answer.headers["vary"]
    assert len(body) < len(plain.content)
    assert unpacked(body, encoding) == plain.content
    small = client.get(
        "/v1/forecasts", params={**parameters, "limit": 1}, headers={"Accept-Encoding": encoding.value}
    )
    assert "content-encoding" not in small.headers


def test_a_streamed_answer_is_packed_as_it_is_sent(client: TestClient) -> None:
    address = f"/v1/forecasts/runs/current/rows?customer_id={content.CUSTOMER}&format=arrow"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    with client.stream("GET", address, headers={"Accept-Encoding": "zstd"}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "zstd"
    assert unpacked(body, Encoding.ZSTD) == plain.content
    assert pa.ipc.open_stream(io.BytesIO(plain.content)).read_all().num_rows == 6 * content.HORIZON
