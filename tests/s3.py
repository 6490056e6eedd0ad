"""S3 servers for tests: SeaweedFS, which installs from PyPI, or MinIO."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import s3fs
from pydantic import SecretStr

from infra.servers.minio import has_bucket, minio_command, minio_environment, minio_program
from infra.settings import S3Settings, Settings, load_settings
from tests.certificates import Authority
from tests.running import Program, free_port, running_server

KEY, SECRET, BUCKET = "headrace-key", "hidden-from-all", "lake"
ON_MINIO = False
"""Whether S3 servers are MinIO instead of SeaweedFS: `pytest --on-minio`."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server with one bucket.

    Attributes:
        url: Its endpoint.
        ca_file: Certificate of the authority that signed its own; None when it speaks plain HTTP.
    """

    url: str
    ca_file: Path | None = None

    def settings(self, bucket: str = BUCKET, prefix: str = "", key: str = KEY) -> Settings:
        """Settings of a lake on it, below a prefix of its own if none is named."""
        s3 = S3Settings(
            endpoint_url=self.url,
            access_key=SecretStr(key),
            secret_key=SecretStr(SECRET),
            ca_file=self.ca_file,
        )
        return load_settings(lake=f"s3://{bucket}/{prefix or uuid.uuid4().hex}", s3=s3)

    def files(self) -> s3fs.S3FileSystem:
        """The server as s3fs sees it, without Headrace."""
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        return s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.url, **options)

    def has_bucket(self) -> bool:
        """Whether it answers; the bucket is made if it is not there."""
        return has_bucket(self.url, KEY, SECRET, BUCKET, self.ca_file)


def s3_program(folder: Path, port: int, authority: Authority | None = None) -> Program:
    """An S3 server of the kind asked for that keeps everything in a folder; with an authority it speaks HTTPS."""
    folder.mkdir(parents=True, exist_ok=True)
    url, log = f"{'https' if authority else 'http'}://127.0.0.1:{port}", folder / "s3.log"
    files = authority.server(folder / "certificates") if authority else None
    if ON_MINIO:
        certificates = files.key.parent if files else None
        command = minio_command(minio_program(load_settings().cache), folder / "minio", port, certificates)
        return Program(command, url, log, minio_environment(KEY, SECRET))
    data = folder / "weed"
    data.mkdir(exist_ok=True)
    options = ["-ip=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.autoCreateBucket=false"]
    ports = [f"-{name}.port={free_port()}" for name in ("master", "filer", "volume")]
    # Each server has a second port besides, ten thousand higher unless it is told.
    ports += [f"-{name}.port.grpc={free_port()}" for name in ("master", "filer", "volume", "s3")]
    if files:
        options += [f"-s3.cert.file={files.certificate}", f"-s3.key.file={files.key}"]
    weed = str(Path(sys.executable).parent / "weed")
    command = [weed, "mini", f"-dir={data}", f"-s3.port={port}", *options, *ports]
    return Program(command, url, log, {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET})


@contextmanager
def running_s3(folder: Path, authority: Authority | None = None) -> Iterator[S3Server]:
    """An S3 server of its own; with an authority it speaks HTTPS."""
    program = s3_program(folder, free_port(), authority)
    server = S3Server(program.url, authority.file if authority else None)
    with running_server(program, server.has_bucket):
        yield server
