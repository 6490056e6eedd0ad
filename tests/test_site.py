"""The site of the documents: every page is in it, once."""

import re

from docs.reference import ROOT

NAMED = re.findall(r"(?m)^\s+- (?:[^:\n]+: )?(\S+\.(?:md|py))$", (ROOT / "mkdocs.yml").read_text())


def test_every_page_has_its_place_in_the_navigation() -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("[!0]*.md")]
    notebooks = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs" / "notebooks").glob("[!_]*.py")]
    assert sorted(NAMED) == sorted(str(page) for page in [*pages, *notebooks])


def test_a_link_between_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
