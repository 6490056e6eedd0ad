"""Fresh passwords for the container deployment: the file `.env`, from `.env.example`.

Guarantee: a file that is there is never written over, and only its owner can read the new one. Needs nothing but
Python.
"""

import re
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
BYTES = 24


def filled(example: str) -> str:
    """The example with a fresh password for each variable that has no value: letters and digits, fit for a URL."""
    return re.sub(
        r"(?m)^([A-Z][A-Z0-9_]*)=$", lambda found: f"{found[1]}={secrets.token_hex(BYTES)}", example
    )


def write_env(folder: Path) -> Path:
    """Write `.env` beside `.env.example`.

    Raises:
        FileExistsError: It is there already.
    """
    path = folder / ".env"
    text = filled((folder / ".env.example").read_text(encoding="utf-8"))
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    """Write the file, or say that it is there."""
    try:
        path = write_env(FOLDER)
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there already, and the servers keep its passwords; nothing is changed")
    print(f"wrote {path}; keep a copy of it where backups are kept")


if __name__ == "__main__":
    main()
