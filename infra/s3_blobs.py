"""The blob store in S3 or a server that speaks S3, by way of s3fs.

Guarantee: that of `infra.blobs`. `put_if_absent` is one conditional write of S3 (`If-None-Match: *`), which every
server decides at once; a file that is sent in parts is conditional at its end. Nothing is cached, so a listing shows
what is there now. Requests time out and are repeated a bounded number of times.
"""

import contextlib
import io
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import s3fs
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from fsspec.exceptions import FSTimeoutError
from typing_extensions import Buffer

from infra.blobs import BlobStat, BlobStore, checked_path
from infra.errors import AlreadyExistsError, CommitUnknownError, NotFoundError, SettingError, UnavailableError
from infra.settings import S3Settings

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
CONFLICT_TRIES = 5
ONE_PUT_BYTES_MAX = 5 * 2**30
READ_AHEAD_BYTES = 4 * 2**20
_REFUSALS = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "Forbidden",
    "401",
    "403",
}


class S3Store(BlobStore):
    """Objects in one bucket, below a prefix.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.
        settings: Endpoint and credentials; without credentials those of the environment or the machine.

    Raises:
        SettingError: The URL names no bucket, only one half of the credentials is set, or the authorities' file
            cannot be used.
    """

    def __init__(self, url: str, settings: S3Settings) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise SettingError(f"HEADRACE_LAKE: expected s3://bucket or s3://bucket/prefix, found {url!r}")
        if (settings.access_key is None) != (settings.secret_key is None):
            raise SettingError(
                "HEADRACE_S3__ACCESS_KEY and HEADRACE_S3__SECRET_KEY: expected both or none, found one"
            )
        self._root = f"{parts.netloc}/{checked_path(parts.path.strip('/'), folder=True)}".rstrip("/")
        self._settings = settings
        self._key = settings.access_key.get_secret_value() if settings.access_key else None
        self._secret = settings.secret_key.get_secret_value() if settings.secret_key else None
        verify = {"verify": _trusted(settings.ca_file)} if settings.ca_file else {}
        # A cached instance would be shared with other code of this process, along with its listings.
        self._fs = s3fs.S3FileSystem(
            key=self._key,
            secret=self._secret,
            endpoint_url=settings.endpoint_url,
            client_kwargs={"region_name": settings.region, **verify},
            config_kwargs={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": READ_TIMEOUT_S,
                "retries": {"mode": "standard", "max_attempts": 3},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    @property
    def location(self) -> str:  # noqa: D102 - documented on BlobStore, as the other verbs below.
        return f"s3://{self._root}"

    @property
    def storage_options(self) -> dict[str, str]:  # noqa: D102
        options = {"aws_region": self._settings.region}
        if self._settings.endpoint_url:
            options["aws_endpoint_url"] = self._settings.endpoint_url
            if self._settings.endpoint_url.startswith("http://"):
                options["aws_allow_http"] = "true"
        if self._key and self._secret:
            options |= {"aws_access_key_id": self._key, "aws_secret_access_key": self._secret}
        return options

    def make(self) -> None:  # noqa: D102
        bucket = self._root.partition("/")[0]
        with self._errors("", writes=True):
            if not self._fs.exists(bucket):
                self._fs.mkdir(bucket)

    def uri(self, path: str) -> str:  # noqa: D102
        return f"s3://{self._name(path, folder=True)}"

    def put_if_absent(self, path: str, data: bytes) -> None:  # noqa: D102
        self._create(
            path, lambda name: self._fs.pipe_file(name, data, mode="create", chunksize=ONE_PUT_BYTES_MAX)
        )

    def put_file_if_absent(self, path: str, local_path: Path) -> None:  # noqa: D102
        with local_path.open("rb"):
            pass  # A local file that is missing is told as such, not as a missing object.
        self._create(path, lambda name: self._fs.put_file(str(local_path), name, mode="create"))

    def replace(self, path: str, data: bytes) -> None:  # noqa: D102
        with self._errors(path, writes=True):
            self._fs.pipe_file(self._name(path), data)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        with self._errors(source, writes=True):
            self._fs.cp_file(self._name(source), self._name(target))

    def copy_if_absent(self, source: str, target: str) -> None:  # noqa: D102
        # Few servers copy on a condition, so the bytes come by here; a stat first spares that when it can.
        if self.stat(target) is not None:
            raise AlreadyExistsError(f"{target} exists already in the lake {self.location}")
        with tempfile.NamedTemporaryFile() as local:
            with self.open(source) as remote:
                shutil.copyfileobj(remote, local, READ_AHEAD_BYTES)
            local.flush()
            self.put_file_if_absent(target, Path(local.name))

    def read(self, path: str) -> bytes:  # noqa: D102
        with self._errors(path):
            return cast("bytes", self._fs.cat_file(self._name(path)))

    def open(self, path: str) -> BinaryIO:  # noqa: D102
        with self._errors(path):
            file = self._fs.open(self._name(path), "rb", block_size=READ_AHEAD_BYTES, cache_type="readahead")
        return cast("BinaryIO", io.BufferedReader(_WrappedFile(self, path, file)))

    def stat(self, path: str) -> BlobStat | None:  # noqa: D102
        try:
            with self._errors(path):
                found = self._fs.info(self._name(path), refresh=True)
        except NotFoundError:
            return None
        return _blob_stat(found) if found["type"] == "file" else None

    def stats(self, prefix: str) -> dict[str, BlobStat]:  # noqa: D102
        folder = self._name(prefix, folder=True)
        try:
            with self._errors(prefix):
                found = self._fs.find(folder, detail=True, withdirs=False)
        except NotFoundError:
            return {}
        start = len(self._root) + 1
        return {
            name[start:]: _blob_stat(entry)
            for name, entry in found.items()
            if entry["type"] == "file" and not name.endswith("/") and name.startswith(folder + "/")
        }

    def folders(self, prefix: str) -> list[str]:  # noqa: D102
        folder = self._name(prefix, folder=True)
        try:
            with self._errors(prefix):
                found = self._fs.ls(folder, detail=True, refresh=True)
        except NotFoundError:
            return []
        return sorted(entry["name"].rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory")

    def delete(self, path: str) -> None:  # noqa: D102
        with contextlib.suppress(NotFoundError), self._errors(path, writes=True):
            self._fs.rm_file(self._name(path))

    def _name(self, path: str, *, folder: bool = False) -> str:
        return f"{self._root}/{checked_path(path, folder=folder)}".rstrip("/")

    def _create(self, path: str, put: Callable[[str], object]) -> None:
        """Write if the object is absent; S3 may ask to try again while another writer is at it."""
        for attempt in range(CONFLICT_TRIES):
            last = (
                contextlib.nullcontext()
                if attempt == CONFLICT_TRIES - 1
                else contextlib.suppress(_ConflictError)
            )
            with last, self._errors(path, writes=True):
                put(self._name(path))
                return
            time.sleep(0.1 * 2**attempt)

    @contextlib.contextmanager
    def _errors(self, path: str, *, writes: bool = False) -> Iterator[None]:
        """Wrap what S3, botocore, s3fs and the network say of the object at `path`."""
        try:
            yield
        except (BotoCoreError, ClientError, OSError, FSTimeoutError) as error:
            raise self._wrapped(error, path, writes=writes) from error

    def _wrapped(self, error: BaseException, path: str, *, writes: bool) -> Exception:
        code, status = answer(error)
        if writes and (
            isinstance(error, FileExistsError) or status == 412 or "pre-conditions" in str(error).lower()
        ):
            return AlreadyExistsError(f"{path} exists already in the lake {self.location}")
        if writes and (status == 409 or code == "ConditionalRequestConflict"):
            return _ConflictError(f"other writers of {path} in {self.location} keep in the way")
        if code == "NoSuchBucket":
            return SettingError(
                f"HEADRACE_LAKE: the bucket of {self.location} does not exist; `headrace lake make` makes it"
            )
        if isinstance(error, FileNotFoundError) or status == 404:
            return NotFoundError(f"there is no object {path} in the lake {self.location}")
        credentials = isinstance(error, NoCredentialsError | PartialCredentialsError | PermissionError)
        if credentials or code in _REFUSALS or status in (401, 403):
            return SettingError(
                "HEADRACE_S3__ACCESS_KEY, HEADRACE_S3__SECRET_KEY, HEADRACE_S3__REGION: "
                f"{self._endpoint} refuses {path or 'a listing'} in {self.location} ({code or type(error).__name__}, "
                f"{error}); check them, the right to read and write, and this machine's clock"
            )
        if isinstance(error, SSLError):
            return SettingError(
                f"HEADRACE_S3__CA_FILE: expected a PEM file of the authority that signed the certificate of "
                f"{self._endpoint}, found that TLS with it fails: {error}"
            )
        kind = CommitUnknownError if writes else UnavailableError
        return kind(
            f"HEADRACE_S3__ENDPOINT_URL: {self._endpoint} did not answer for {path} "
            f"in {self.location}: {error}"
        )

    @property
    def _endpoint(self) -> str:
        return self._settings.endpoint_url or "AWS"


class _ConflictError(CommitUnknownError):
    """Another conditional write of the same object is under way."""


class _WrappedFile(io.RawIOBase):
    """A stream of s3fs whose errors are ours."""

    def __init__(self, store: S3Store, path: str, file: BinaryIO) -> None:
        self._store, self._path, self._file = store, path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        with self._store._errors(self._path):  # noqa: SLF001 - one class in two parts.
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def answer(error: BaseException) -> tuple[str, int]:
    """S3's error code and HTTP status behind an exception of s3fs; "" and 0 when there was no answer."""
    step: BaseException | None = error
    for _ in range(10):
        if step is None:
            break
        if isinstance(step, ClientError):
            response = step.response
            return (
                str(response.get("Error", {}).get("Code", "")),
                int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
            )
        step = step.__cause__ or step.__context__
    return "", 0


def _trusted(ca_file: Path) -> str:
    """Have this process trust the authorities in a file, and no others, when it speaks HTTPS.

    Polars' own client learns of them from this variable only.
    """
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise SettingError(
            f"HEADRACE_S3__CA_FILE: expected a PEM file of certificates, found {ca_file}: {error}"
        ) from error
    os.environ["SSL_CERT_FILE"] = str(ca_file)
    return str(ca_file)


def _blob_stat(entry: dict[str, object]) -> BlobStat:
    return BlobStat(int(cast("int", entry["size"])), str(entry.get("ETag", "")).strip('"'))
