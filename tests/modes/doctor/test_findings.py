"""Checks that fail themselves, and sizes."""

from __future__ import annotations

import pytest

from mlpipe.modes.doctor import findings
from mlpipe.modes.doctor.findings import Finding


def test_a_check_that_fails_leaves_the_others() -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("no such counter")

    found = findings.run_checks([("first", broken), ("second", lambda: [Finding("second", "name", 1)])])
    assert [(one.topic, one.level) for one in found] == [("first", "note"), ("second", "ok")]
    assert found[0].advice == "first: this could not be found out (RuntimeError: no such counter)"


@pytest.mark.parametrize(("number", "said"), [(64e6, "64 MB"), (2.55e10, "25.5 GB"), (1.2e12, "1.2 TB")])
def test_sizes(number: float, said: str) -> None:
    assert findings.size(number) == said
