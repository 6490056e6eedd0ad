"""The blob store in a directory, beside what `test_store_contract` shows of every store; and which store is opened."""

import os
import time
from pathlib import Path

import pytest

from infra.blobs import SCRATCH, DirectoryStore, open_store
from infra.errors import AlreadyExistsError, SettingError
from infra.settings import S3Settings, Settings, load_settings


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "lake")


def test_objects_are_files_and_scratch_is_not_listed_and_not_left(store: DirectoryStore) -> None:
    store.put_if_absent("t/day=1/a", b"12")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("t/day=1/a", b"12")
    assert Path(store.uri("t/day=1/a")).read_bytes() == b"12"
    scratch = Path(store.location) / SCRATCH
    assert not list(scratch.iterdir())
    (scratch / "left").write_bytes(b"")
    assert store.list("") == ["t/day=1/a"]
    assert store.folders("") == ["t"]


def test_a_replaced_object_has_another_etag_even_at_the_same_size(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a wait for the disk many writes fall into one step of the kernel's clock for files.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    etags = set()
    for number in range(200):
        store.replace("pointer", f"{number:03d}".encode())
        stat = store.stat("pointer")
        assert stat is not None
        assert stat.size_bytes == 3
        etags.add(stat.etag)
    assert len(etags) == 200


def test_deleting_the_last_object_of_a_folder_leaves_no_folder_to_other_programs(
    store: DirectoryStore,
) -> None:
    store.put_if_absent("t/day=1/a", b"")
    store.delete("t/day=1/a")
    assert store.folders("t") == []


def test_a_lake_below_a_file_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingError, match="HEADRACE_LAKE"):
        DirectoryStore(tmp_path / "file" / "lake").put_if_absent("a", b"")


def test_a_read_only_lake_is_told_with_its_setting(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_if_absent("a", b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no file mode stops.
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SettingError, match=r"HEADRACE_LAKE.*read and write.*Permission denied"):
        store.put_if_absent("b", b"")


def test_scratch_files_of_a_killed_process_are_removed_after_a_day(tmp_path: Path) -> None:
    scratch = tmp_path / SCRATCH
    scratch.mkdir()
    old, young = scratch / "old", scratch / "young"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    DirectoryStore(tmp_path).put_if_absent("a", b"")
    assert not old.exists()
    assert young.exists()


def test_the_setting_decides_where_the_lake_lies(offline_settings: Settings, tmp_path: Path) -> None:
    assert open_store(offline_settings).location == str(offline_settings.home / "lake")
    s3 = open_store(
        load_settings(lake="s3://bucket/some/where", s3=S3Settings(endpoint_url="http://127.0.0.1:1"))
    )
    assert s3.location == "s3://bucket/some/where"
    assert s3.uri("a/b") == "s3://bucket/some/where/a/b"
    for wrong in ("gs://bucket", "s3://"):
        with pytest.raises(SettingError, match="HEADRACE_LAKE"):
            open_store(load_settings(lake=wrong))


def test_half_of_the_credentials_is_a_wrong_setting() -> None:
    with pytest.raises(SettingError, match="HEADRACE_S3__SECRET_KEY"):
        open_store(load_settings(lake="s3://bucket", s3={"access_key": "only"}))
