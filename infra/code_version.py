"""Which code runs: version, commit, digests of the sources and of the locked dependencies.

Guarantee: two processes with the same answer run the same sources with the same libraries. Asking costs some
milliseconds once; nothing is asked on import.
"""

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("infra", "schemas", "lake", "ml", "flows")
"""What a forecast follows from."""
LIBRARIES = ("lightgbm", "numpy", "polars", "pyarrow", "scikit-learn", "scipy", "skops")
LOCKS = (ROOT / "requirements" / "runtime.txt", ROOT / "infra" / "requirements.txt")
"""Where the locked dependencies stand: in a checkout, and in an installed package."""
GIT_WAIT_S = 10.0


@cache
def code_version() -> dict[str, str | None]:
    """What runs, by name.

    Returns:
        `version` of the package; `revision`, the commit of a checkout, null without one; `sources_sha256` of the
        packages that a forecast follows from; `lock_sha256` of the locked dependencies, null when the file is
        not there; `python`; and the version of each library that a forecast depends on.
    """
    return {
        "version": _version("headrace"),
        "revision": _revision(),
        "sources_sha256": _sources_sha256(),
        "lock_sha256": next((_sha256(path.read_bytes()) for path in LOCKS if path.is_file()), None),
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The commit that is checked out, if this is a checkout and git is there to ask."""
    if not (ROOT / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=GIT_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def _sources_sha256() -> str:
    hashed = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            hashed.update(f"{path.relative_to(ROOT).as_posix()} {_sha256(path.read_bytes())}\n".encode())
    return hashed.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
