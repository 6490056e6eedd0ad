"""The blob store over S3's protocol, beside what `test_store_contract` shows of every store."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from infra.blobs import BlobStore, open_store
from infra.errors import AlreadyExistsError, CommitUnknownError, SettingError, UnavailableError
from tests.certificates import Authority
from tests.fronts.s3 import s3_front
from tests.running import free_port
from tests.s3 import BUCKET, SECRET, S3Server, running_s3


@pytest.fixture
def store(s3_server: S3Server) -> BlobStore:
    """A lake below a prefix of its own."""
    return open_store(s3_server.settings())


def test_an_object_lies_below_the_prefix(s3_server: S3Server) -> None:
    store = open_store(s3_server.settings(prefix="some/where"))
    store.put_if_absent("table/day=1/part.parquet", b"abcdef")
    assert s3_server.files().cat(f"{BUCKET}/some/where/table/day=1/part.parquet") == b"abcdef"


def test_a_bucket_that_is_not_there_is_made_once(s3_server: S3Server) -> None:
    store = open_store(s3_server.settings(bucket="not-there-yet", prefix="lake"))
    with pytest.raises(SettingError, match="does not exist; `headrace lake make` makes it"):
        store.put_if_absent("a/b", b"first")
    store.make()
    store.put_if_absent("a/b", b"first")
    store.make()
    assert store.read("a/b") == b"first"


def test_what_must_have_one_winner_goes_in_one_request_however_large(store: BlobStore) -> None:
    # Above 100 MB s3fs by itself sends parts, whose completion not every server decides at once.
    data = bytes(105_000_000)
    store.put_if_absent("much", data)
    stat = store.stat("much")
    assert stat is not None
    assert stat.size_bytes == len(data)
    assert stat.etag == hashlib.md5(data).hexdigest()  # Of what was sent in parts it is another.


def test_a_large_file_that_is_refused_leaves_no_parts_behind(
    store: BlobStore, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)
    local = tmp_path / "big.csv"
    local.write_bytes(bytes(6 * 2**20))
    store.put_file_if_absent("deliveries/acme/1", local)
    with pytest.raises(AlreadyExistsError):
        store.put_file_if_absent("deliveries/acme/1", local)
    assert not s3_server.files().call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads")


def test_a_store_behind_https_is_used_with_its_authority_and_refused_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store sets it for the whole process; this brings it back at the end.
    monkeypatch.setenv("SSL_CERT_FILE", "")
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    with running_s3(tmp_path, authority) as server:
        store = open_store(server.settings())
        pl.DataFrame({"x": [1, 2, 3]}).write_parquet(tmp_path / "x.parquet")
        store.put_file_if_absent("t/x.parquet", tmp_path / "x.parquet")
        assert store.list("") == ["t/x.parquet"]
        rows = pl.scan_parquet(
            store.uri("t/x.parquet"), storage_options=store.storage_options, glob=False
        ).collect()
        assert rows["x"].to_list() == [1, 2, 3]
        with pytest.raises(SettingError, match=r"HEADRACE_S3__CA_FILE.*CERTIFICATE_VERIFY_FAILED"):
            open_store(S3Server(server.url, stranger.file).settings()).folders("")


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_authorities_that_holds_none_is_a_wrong_setting(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingError, match=r"HEADRACE_S3__CA_FILE.*authority\.pem"):
        open_store(S3Server("https://127.0.0.1:1", file).settings())


def test_a_conflict_of_conditional_writes_is_tried_again_a_few_times(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.s3_blobs.time.sleep", lambda seconds: None)
    with s3_front(s3_server) as front:
        store = open_store(S3Server(front.url).settings())
        front.conflicts = 2
        store.put_if_absent("a", b"1")
        assert store.read("a") == b"1"
        front.conflicts = 99
        with pytest.raises(CommitUnknownError, match="other writers"):
            store.put_if_absent("b", b"1")


def test_refused_credentials_and_missing_buckets_name_their_settings(s3_server: S3Server) -> None:
    stranger, nowhere = (
        open_store(s3_server.settings(**wrong)) for wrong in ({"key": "wrong"}, {"bucket": "nobucket"})
    )
    acts: list[Callable[[BlobStore], object]] = [
        lambda store: store.read("a"),
        lambda store: store.put_if_absent("a", b""),
        lambda store: store.list("a"),
    ]
    for act in acts:
        with pytest.raises(SettingError, match=r"HEADRACE_S3__ACCESS_KEY.*refuses") as caught:
            act(stranger)
        assert SECRET not in str(caught.value)
    for act in acts[1:]:
        with pytest.raises(SettingError, match=r"HEADRACE_LAKE.*bucket"):
            act(nowhere)


def test_a_put_whose_answer_is_lost_was_done(s3_server: S3Server) -> None:
    with s3_front(s3_server) as front:
        store = open_store(S3Server(front.url).settings())
        front.lost = 1
        # The client asks again by itself, and meets its own object.
        with pytest.raises(AlreadyExistsError):
            store.put_if_absent("a", b"1")
        assert store.read("a") == b"1"


def test_a_server_in_trouble_is_asked_again_a_few_times_and_then_told(s3_server: S3Server) -> None:
    with s3_front(s3_server) as front:
        store = open_store(S3Server(front.url).settings())
        front.status = 503
        with pytest.raises(UnavailableError, match="HEADRACE_S3__ENDPOINT_URL"):
            store.read("a")
        with pytest.raises(CommitUnknownError, match="HEADRACE_S3__ENDPOINT_URL"):
            store.put_if_absent("a", b"1")
        front.status = 0
        store.put_if_absent("a", b"1")


def test_a_server_that_is_not_there_is_told_with_its_setting() -> None:
    store = open_store(S3Server(f"http://127.0.0.1:{free_port()}").settings())
    with pytest.raises(UnavailableError, match="HEADRACE_S3__ENDPOINT_URL"):
        store.read("a")
    with pytest.raises(CommitUnknownError, match="HEADRACE_S3__ENDPOINT_URL"):
        store.put_if_absent("a", b"")


def test_polars_scans_the_store_by_uri_and_options(store: BlobStore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3]})
    frame.write_parquet(tmp_path / "x.parquet")
    store.put_file_if_absent("t/x.parquet", tmp_path / "x.parquet")
    rows = pl.scan_parquet(store.uri("t/x.parquet"), storage_options=store.storage_options, glob=False)
    assert rows.collect().equals(frame)
