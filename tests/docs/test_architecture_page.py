"""Pages for those who change the program name files that are there, and the levels that imports are held to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_layers import LEVELS

TOP = Path(__file__).parents[2]
# Files that a reader of CONTRIBUTING writes.
EXAMPLES = {"conf/loss/squared.yaml", "conf/mode/count.yaml"}
PAGES = {name: (TOP / name).read_text("utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    named = set(re.findall(r"`((?:mlpipe|conf|tests|scripts|docs)/[\w./]+)`", PAGES[page])) - EXAMPLES
    assert named and not sorted(one for one in named if "WORD" not in one and not (TOP / one).exists())


def test_the_levels_are_those_of_the_imports() -> None:
    (drawn,) = re.findall(r"^9 .*?^0 [^\n]*", PAGES["docs/architecture.md"], re.MULTILINE | re.DOTALL)
    for line in drawn.splitlines():
        level, *words = line.split()
        on_it = {name for name, own in LEVELS.items() if own == float(level.replace("½", ".5"))}
        assert on_it and set(words[: len(on_it)]) == on_it
