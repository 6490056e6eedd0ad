"""What is written about the project against the project itself."""

import re
from pathlib import Path

import pytest

from docs.reference import PAGES, ROOT, commands, settings


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_that_follows_from_the_code_is_up_to_date(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == PAGES[page](), "run `make docs`"


def test_every_make_target_and_command_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = set(re.findall(r"^## (headrace .+)$", commands(), re.MULTILINE))
    for document in documents():
        text = document.read_text()
        for target in re.findall(r"`make ([a-z0-9-]+)", text):
            assert target in targets, f"{document.name} names make {target}"
        for words in re.findall(r"`(headrace [a-z]+(?: [a-z0-9]+)?)", text):
            named = words.split()
            assert any(
                command.split()[: len(named)] == named or command.split() == named[:2] for command in known
            ), f"{document.name} names {words}"


def test_every_setting_that_the_documents_name_exists() -> None:
    known = set(re.findall(r"`(HEADRACE_[A-Z0-9_]+)`", settings()))
    for document in documents():
        for name in re.findall(r"HEADRACE_[A-Z0-9_]*[A-Z0-9]", document.read_text()):
            passed_through = name.startswith("HEADRACE_KAFKA__")
            group = any(setting.startswith(f"{name}__") for setting in known)
            assert name in known or passed_through or group, f"{document.name} names {name}"


def documents() -> list[Path]:
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
    return [page for page in pages if page.name not in {"settings.md", "commands.md"}]
