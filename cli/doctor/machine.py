"""What can be wrong with the machine and the installation on it: versions, secrets, disk, ports.

Guarantee: looking changes nothing and asks no server.
"""

import shutil
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from cli.doctor.finding import Finding
from cli.parts import StackPart
from cli.stack import check_port
from infra.errors import MissingPartError
from infra.settings import Settings

FREE_BYTES_MIN = 2 * 2**30
_SECRETS = ("PASSWORD", "SECRET", "ACCESS_KEY", "TOKEN")


def versions(
    wanted: Iterable[str] | None = None, installed: Callable[[str], str] = version
) -> Iterator[Finding]:
    """Whether the libraries that are installed are those that this version is tested with.

    Args:
        wanted: Requirements; None means those of the installed Headrace.
        installed: Tells the version of a distribution.
    """
    remedy = "pip install --require-hashes -r requirements/runtime.txt"
    count = 0
    for text in wanted if wanted is not None else requires("headrace") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            found = installed(requirement.name)
        except PackageNotFoundError:
            yield Finding(
                "versions", f"{requirement.name} is not installed, expected {requirement.specifier}", remedy
            )
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding("versions", f"{requirement.name} {found}, expected {requirement.specifier}", remedy)
    yield Finding("versions", f"{count} libraries looked at")


def secrets(file: Path) -> Iterator[Finding]:
    """Whether a file with passwords may be read by its owner alone."""
    if not file.is_file():
        return
    secret = any(
        name.strip() and any(word in name.upper() for word in _SECRETS) and value.strip()
        for name, _, value in (line.partition("=") for line in file.read_text(errors="replace").splitlines())
    )
    mode = stat.S_IMODE(file.stat().st_mode)
    if secret and mode & 0o077:
        yield Finding("secrets", f"{file} holds passwords and has the rights {mode:03o}", f"chmod 600 {file}")
    else:
        yield Finding("secrets", f"{file} is its owner's alone" if secret else f"{file} holds no passwords")


def disk(folders: Iterable[Path], free_bytes_min: int = FREE_BYTES_MIN) -> Iterator[Finding]:
    """Whether there is room where something is written.

    Args:
        folders: Where; of one that is not there yet, the folder that it will be made in.
        free_bytes_min: Least room that lets jobs and broker go on for a while.
    """
    for folder in folders:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        remedy = (
            ""
            if free >= free_bytes_min
            else "free some space, or delete old files: `headrace lake expire --days 90`"
        )
        yield Finding("disk", f"{free / 2**30:.1f} GiB are free at {folder}", remedy)


def ports(parts: Sequence[StackPart], *, runs: bool) -> Iterator[Finding]:
    """Whether each part can have its port.

    Args:
        parts: The parts of the stack.
        runs: Whether the stack runs, so that its ports are taken by itself.
    """
    by_port: dict[int, list[StackPart]] = defaultdict(list)
    for part in parts:
        by_port[part.port].append(part)
    for port, sharing in by_port.items():
        if len(sharing) > 1:
            names = " and ".join(part.part.name for part in sharing)
            settings = ", ".join(sorted({part.setting for part in sharing}))
            yield Finding(
                "ports", f"port {port} is set for {names}", f"set one of {settings} to another port"
            )
    for part in () if runs else parts:
        try:
            check_port(part)
        except MissingPartError as error:
            found, _, remedy = str(error).partition(". ")
            yield Finding("ports", found, remedy)
    yield Finding("ports", f"{len(by_port)} ports looked at")


def folders_of(settings: Settings) -> list[Path]:
    """The folders that this installation writes to."""
    return [settings.home, *([] if "://" in settings.lake_url else [Path(settings.lake_url).expanduser()])]
