"""MinIO, built by Go from its module, on one folder."""

import os
from pathlib import Path

import s3fs
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

from infra.servers.installing import installed, program, run

MODULE = "github.com/minio/minio@latest"


def minio_program(cache: Path) -> Path:
    """The program, built on first use (some minutes).

    Raises:
        MissingPartError: There is no Go, or it cannot build it.
    """

    def install(folder: Path) -> None:
        go = program("go", "to build MinIO (https://go.dev/dl)")
        run([go, "install", MODULE], {**os.environ, "GOBIN": str(folder)})

    return installed(cache / "minio", install) / "minio"


def minio_command(program_path: Path, folder: Path, port: int, certificates: Path | None = None) -> list[str]:
    """The command that runs it in the foreground; it needs the environment of `minio_environment`.

    Args:
        program_path: The program.
        folder: Where it keeps everything.
        port: Port that clients reach it on.
        certificates: Folder with `public.crt` and `private.key`; then it speaks HTTPS only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secured = ["--certs-dir", str(certificates)] if certificates else []
    return [str(program_path), "server", "--quiet", *secured, "--address", f"127.0.0.1:{port}", str(folder)]


def minio_environment(user: str, password: str) -> dict[str, str]:
    """Environment variables that name its root user, whose names and passwords have eight characters at least."""
    return {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}


def has_bucket(endpoint: str, user: str, password: str, bucket: str, ca_file: Path | None = None) -> bool:
    """Whether an S3 server answers and has the bucket; it is made if it is not there."""
    files = s3fs.S3FileSystem(
        key=user,
        secret=password,
        endpoint_url=endpoint,
        client_kwargs={"verify": str(ca_file)} if ca_file else {},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    try:
        if not files.exists(bucket):
            files.mkdir(bucket)
    except (OSError, BotoCoreError):
        return False
    return True
