"""The table of hostile inputs has each input of the corpus, under its group, with the exit code that the tests expect."""

from __future__ import annotations

import re
from pathlib import Path

from mlpipe import limits
from tests.safety.corpus.table import GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "safety.md"


def test_the_table_has_every_input_of_the_corpus_and_no_other() -> None:
    text = PAGE.read_text("utf-8").partition("<!-- made by scripts/hostile_table.py -->")[2]
    counted, *groups = re.split(r"^### ", text, flags=re.M)
    found = {}
    for part in groups:
        head, *lines = part.splitlines()
        rows = [re.fullmatch(r"\| (.*?) \| (\d+) \| `.*` \|", line) for line in lines[3:] if line]
        found[head.lower()] = [(row[1], int(row[2])) for row in rows if row is not None]
    # Made anew by scripts/hostile_table.py --missing, or without a word after it.
    assert found == {group: [(case.name, case.code) for case in cases] for group, cases in GROUPS.items()}
    assert counted.strip() == f"{sum(map(len, GROUPS.values()))} inputs:"


def test_the_table_of_limits_has_the_numbers_of_the_code() -> None:
    text = PAGE.read_text("utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.*?) \|$", text.partition("## Limits")[2].partition("## Every")[0], re.M))
    for what, number in {
        "values of a YAML file, aliases and merges written out": limits.NODES,
        "keys of a YAML file": limits.KEYS,
        "levels of a YAML file": limits.DEPTH,
        "levels of a JSON file": limits.JSON_DEPTH,
        "digits of a whole number in YAML": limits.DIGITS,
        "settings of a recipe": limits.SETTINGS,
        "columns of a table": limits.COLUMNS,
        "cells of a table": limits.CELLS,
        "characters of one line of a table": limits.LINE,
        "rows of the tables, or lines of the journal, of one study of a search": limits.STUDY_ROWS,
        "values in them": limits.STUDY_VALUES,
        "values of a journal that are copied and compared while it is read, as those of a trial are with each of its lines": (
            limits.STUDY_STEPS
        ),
        "trials of a search by several metrics of which the best ones are told": limits.STUDY_FRONT,
        "numbers of a PNM file that are read one by one: as text, or with another white than 255 and, of greys, 65,535": (
            limits.NUMBERS
        ),
        "boxes of one image": limits.BOXES,
        "layers of a network of Keras": limits.LAYERS,
        "groups of an HDF5 file that hold nothing": limits.EMPTY_GROUPS,
        "letters of the name of a class": limits.NAME,
        "runs of one sweep": limits.JOBS,
    }.items():
        assert rows[what] == f"{number:,}", what
