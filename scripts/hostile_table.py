"""Write docs/safety.md anew: every hostile input of the tests with the sentence that it gets.

python scripts/hostile_table.py            # writes docs/safety.md
python scripts/hostile_table.py --check    # says whether all of them end as the tests expect
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.safety.corpus import PROOF, Hostile, Outcome, attempt  # noqa: E402
from tests.safety.corpus.table import GROUPS  # noqa: E402

PAGE = ROOT / "docs" / "safety.md"
BEGIN = "<!-- made by scripts/hostile_table.py -->"
_MOST = 200


def sentence(outcome: Outcome, root: str) -> str:
    """The first sentence of an outcome for a table: the temporary folder is left out."""
    text = outcome.sentences[0] if outcome.code else "allowed"
    text = re.sub(re.escape(root) + r"(/work|/results|/data)?/?", "", text)
    text = text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def is_harmless(case: Hostile, outcome: Outcome, root: Path) -> bool:
    """Whether a case ended as the tests expect."""
    shown = "\n".join(outcome.sentences) if case.code else outcome.shown
    untouched = not outcome.touched and not (root / PROOF).exists()
    return outcome.code == case.code and untouched and case.expect in shown


def rows(cases: list[Hostile], wrong: list[str]) -> list[str]:
    """A row of the table for each case."""
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            outcome = attempt(case, Path(folder))
            if not is_harmless(case, outcome, Path(folder)):
                wrong.append(case.name)
            found.append(f"| {case.name} | {outcome.code} | `{sentence(outcome, folder)}` |")
    return found


def main() -> int:
    """Run all cases and write the page; the exit code says whether all ended as expected."""
    wrong: list[str] = []
    lines: list[str] = []
    for group, cases in GROUPS.items():
        lines += [f"### {group.capitalize()}", "", "| input | exit code | sentence |", "|---|---|---|"]
        lines += [*rows(list(cases), wrong), ""]
    count = sum(len(cases) for cases in GROUPS.values())
    print(f"{count} inputs, {len(wrong)} of them not as expected: {', '.join(wrong) or 'none'}")
    if "--check" not in sys.argv:
        head = PAGE.read_text("utf-8").partition(BEGIN)[0]
        PAGE.write_text(f"{head}{BEGIN}\n{count} inputs:\n\n" + "\n".join(lines), "utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
