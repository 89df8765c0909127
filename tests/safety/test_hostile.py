"""Hostile inputs: each ends with a sentence, runs nothing, and leaves everything outside of the project as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.safety.corpus import PROOF, Hostile, attempt
from tests.safety.corpus.table import GROUPS

ALL = [pytest.param(case, id=f"{group}-{case.name}") for group, cases in GROUPS.items() for case in cases]


def test_the_corpus_is_large_and_no_name_comes_twice() -> None:
    names = [case.name for cases in GROUPS.values() for case in cases]
    assert len(names) >= 60 and len(set(names)) == len(names)


@pytest.mark.program
@pytest.mark.parametrize("case", ALL)
def test_a_hostile_input_is_one_sentence_and_harms_nothing(case: Hostile, tmp_path: Path) -> None:
    outcome = attempt(case, tmp_path)
    shown = "\n".join(outcome.sentences)
    assert outcome.code == case.code, shown
    assert "Traceback" not in shown and not any(line.startswith("unexpected ") for line in outcome.sentences)
    assert not (tmp_path / PROOF).exists() and outcome.touched == []
    assert "hunter2" not in shown + outcome.shown
    if case.code:
        assert case.expect in shown, shown
        written = [
            name
            for name in outcome.results
            if not name.startswith(("default/runs", "default/.lock", "default/tasks/made"))
        ]
        assert (written if case.begun else outcome.results) == []
        assert all(sentence.isprintable() for sentence in outcome.sentences), shown
    else:
        assert case.expect in outcome.shown
