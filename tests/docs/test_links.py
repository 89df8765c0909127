"""Pages find each other: every one is in the index, every link leads to a file and a heading that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])


def links(text: str) -> list[str]:
    """Targets of a page's links and pictures that are not on the web; code holds none."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "`", text)) + re.findall(
        r'(?:src|href)="([^"]+)"', text
    )
    return [one for one in found if not one.startswith(("https:", "http:", "mailto:"))]


def anchors(text: str) -> set[str]:
    """The names of a page's headings as Git hosts make them: small letters, hyphens for blanks, no other marks."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", one) for one in headings]
    return {re.sub(r"[^\w\- ]", "", one.strip().lower()).replace(" ", "-") for one in plain}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere."""
    wrong = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = anchors(target.read_text("utf-8")) if anchor and target.is_file() and target.suffix == ".md" else set()
        if not target.exists() or not target.is_relative_to(TOP) or (anchor and anchor not in there):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](data.md) and [b](modes/train.md#mml-train-predict-test-folds)", []),
        ("[a](https://example.org/x.md)", []),
        ("`[a](nowhere.md)`", []),
        ("[a](nowhere.md)", ["nowhere.md"]),
        ("![a](pictures/none.png)", ["pictures/none.png"]),
        ("[a](data.md#nothing-of-that-name)", ["data.md#nothing-of-that-name"]),
        ("[a](../../outside.md)", ["../../outside.md"]),
    ],
)
def test_a_broken_link_is_seen(text: str, found: list[str]) -> None:
    assert broken(TOP / "docs" / "any.md", text) == found


def test_the_index_has_every_page() -> None:
    index = TOP / "docs" / "index.md"
    named = [(index.parent / link).resolve() for link in links(index.read_text("utf-8"))]
    assert len(named) == len(set(named))
    assert set(named) == {page for page in PAGES if page.name not in ("index.md", "CHANGELOG.md")}


def test_the_readme_leads_to_the_index() -> None:
    assert "docs/index.md" in links((TOP / "README.md").read_text("utf-8"))


def test_no_picture_is_large_or_unused() -> None:
    pictures = [file for file in (TOP / "docs" / "pictures").iterdir() if file.is_file()]
    named = {(page.parent / link).resolve() for page in PAGES for link in links(page.read_text("utf-8"))}
    assert pictures and not [one.name for one in pictures if one.stat().st_size >= 150_000 or one not in named]
