"""Writes the pages that follow from the code: the map of the house, settings, commands, and what the lake carries.

`make docs` runs it; a test compares the pages with what it would write.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from cli.main import app
from infra.settings import PROFILES, Settings
from lake import dictionary, guide

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("infra", "schemas", "lake", "ml", "stream_jobs", "flows", "serving", "cli", "benchmarks", "docs")


def house() -> str:
    """The map: each package and each file in a line, which is the first sentence of its docstring."""
    lines = [
        "# The house",
        "",
        "Imports run one way: `cli → flows, stream_jobs, serving → lake, ml → schemas → infra`; packages on",
        "one level do not import each other. `make check` holds it so. This page is written by `make docs`.",
    ]
    for package in PACKAGES:
        init = ROOT / package / "__init__.py"
        lines += ["", f"## {package}", ""]
        lines += [_first_sentence(init), ""] if init.exists() else []
        lines += [
            f"- `{path.relative_to(ROOT)}`: {_first_sentence(path)}" for path in _modules(ROOT / package)
        ]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Every setting: its variable, its default, and what it is."""
    lines = [
        "# Settings",
        "",
        "Read from the environment and from a `.env` file in the working directory. Kafka's own",
        "properties pass through: `HEADRACE_KAFKA__SASL_MECHANISM` becomes `sasl.mechanism`. This page is",
        "written by `make docs`.",
        "",
        "| variable | default | what |",
        "|---|---|---|",
    ]
    for name, field in _fields(Settings, "HEADRACE_"):
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None or default in ("", {}) else f"`{default}`"
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    lines += [
        "",
        "## Profiles",
        "",
        "`HEADRACE_PROFILE` chooses other defaults; what is set by name wins.",
        "",
    ]
    lines += ["| profile | variable | default in it |", "|---|---|---|"]
    for profile, changed in PROFILES.items():
        lines += [f"| `{profile}` | `HEADRACE_STREAM__{n.upper()}` | `{v:g}` |" for n, v in changed.items()]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its help text."""
    lines = ["# Commands", "", "What `headrace COMMAND --help` prints. This page is written by `make docs`."]
    for words in _commands(app, ()):
        text = CliRunner().invoke(app, [*words, "--help"], terminal_width=100).output
        lines += ["", f"## {' '.join(('headrace', *words))}", "", "```text", text.strip(), "```"]
    return "\n".join(lines) + "\n"


def decisions() -> str:
    """Every decision by its title."""
    lines = ["# Decisions", "", "Half a page each. This page is written by `make docs`.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        number, _, title = path.read_text().partition("\n")[0].removeprefix("# ").partition(". ")
        lines.append(f"- {number}: [{title}]({path.name})")
    return "\n".join(lines) + "\n"


PAGES = {
    "house.md": house,
    "settings.md": settings,
    "commands.md": commands,
    "lake.md": lambda: guide.markdown(".headrace/lake"),
    "data-dictionary.md": dictionary.markdown,
    "decisions/index.md": decisions,
}


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py" or path.parent not in (folder, folder / "notebooks"):
            yield path


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise ValueError(
            f"{path.relative_to(ROOT)} has no docstring; its first sentence is its line in the map"
        )
    return text.split("\n\n")[0].replace("\n", " ").removeprefix("# ")


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), field


def _commands(group: typer.Typer, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        yield (*words, str(name))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from _commands(inner.typer_instance, (*words, str(inner.name)))


def main() -> None:
    """Write every page."""
    os.environ["NO_COLOR"] = "1"
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page())


if __name__ == "__main__":
    main()
