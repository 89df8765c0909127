"""Write the table of docs/safety.md anew: every hostile input of the tests with the sentence that it gets.

python scripts/hostile_table.py                          # tries all of them and writes the table
python scripts/hostile_table.py --group weights          # tries those of one group and writes their rows, several times perhaps
python scripts/hostile_table.py --missing                # tries those that have no row yet, drops rows of those that are gone
python scripts/hostile_table.py --check                  # writes nothing, says whether all of them end as the tests expect

An input is not as expected, too, where its command takes more than 30 seconds, or more than two gigabytes of memory (Linux).
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.safety.corpus import PROOF, Hostile, Outcome, attempt  # noqa: E402
from tests.safety.corpus.table import GROUPS  # noqa: E402

PAGE = ROOT / "docs" / "safety.md"
BEGIN = "<!-- made by scripts/hostile_table.py -->"
_MOST_LETTERS, _MOST_SECONDS, _MOST_MEGABYTES = 200, 30, 2000
_HEAD = ["| input | exit code | sentence |", "|---|---|---|"]


@dataclass(frozen=True)
class Tried:
    """What became of an input.

    Attributes:
        row: Its line in the table.
        faults: What is not as it should be, in words.
        seconds: What building it and its command took.
        megabytes: The most memory that the process had meanwhile; 0 where the system does not tell.
    """

    row: str
    faults: list[str]
    seconds: float
    megabytes: float


def sentence(outcome: Outcome, root: str) -> str:
    """The first sentence of an outcome for a table: the temporary folder is left out."""
    text = outcome.sentences[0] if outcome.code else "allowed"
    text = re.sub(re.escape(root) + r"(/work|/results|/data)?/?", "", text)
    text = text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def tried(case: Hostile) -> Tried:
    """Try an input in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _forget_peak()
        started = time.monotonic()
        outcome = attempt(case, root)
        seconds, megabytes = time.monotonic() - started, _peak()
        shown = "\n".join(outcome.sentences) if case.code else outcome.shown
        faults = [f"exit code {outcome.code}"] * (outcome.code != case.code)
        faults += ["a file outside"] * bool(outcome.touched) + ["a proof"] * (root / PROOF).exists()
        faults += ["another sentence"] * (case.expect not in shown)
        faults += ["unexpected"] * any(one.startswith("unexpected ") for one in outcome.sentences)
        faults += [f"{seconds:.0f} s"] * (seconds > _MOST_SECONDS)
        faults += [f"{megabytes:.0f} MB"] * (megabytes > _MOST_MEGABYTES)
        row = f"| {case.name} | {outcome.code} | `{sentence(outcome, folder)}` |"
        return Tried(row, faults, seconds, megabytes)


def _forget_peak() -> None:
    """Let the most memory that this process had begin anew."""
    if (file := Path("/proc/self/clear_refs")).exists():
        file.write_text("5")


def _peak() -> float:
    file = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", file.read_text("utf-8")) if file.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """The rows of the table in a page by group and input.

    Args:
        text: The page.
    """
    found: dict[str, dict[str, str]] = {}
    group: dict[str, str] = {}
    for line in text.partition(BEGIN)[2].splitlines():
        if line.startswith("### "):
            group = found.setdefault(line[4:].lower(), {})
        elif line.startswith("| ") and line not in _HEAD:
            group[line[2:].partition(" | ")[0]] = line
    return found


def page(text: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """A page with a table of the inputs that there are, each with its row.

    Args:
        text: The page.
        rows: As `rows_of` gives them; an input without a row has none in the page.
    """
    lines, count = list[str](), 0
    for group, cases in GROUPS.items():
        own = [rows[group][case.name] for case in cases if case.name in rows.get(group, {})]
        count += len(own)
        lines += [f"### {group.capitalize()}", "", *_HEAD, *own, ""]
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n{count} inputs:\n\n" + "\n".join(lines)


def main() -> int:
    """Try inputs and write their rows; the exit code says whether all ended as they should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="only this group, perhaps several times")
    parser.add_argument("--missing", action="store_true", help="only what has no row yet")
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    known = rows_of(PAGE.read_text("utf-8"))
    wrong, longest, largest = list[str](), (0.0, ""), (0.0, "")
    count = 0
    for group in asked.group or GROUPS:
        for case in GROUPS[group]:
            if asked.missing and case.name in known.get(group, {}):
                continue
            one, count = tried(case), count + 1
            known.setdefault(group, {})[case.name] = one.row
            wrong += [f"{case.name} ({', '.join(one.faults)})"] * bool(one.faults)
            longest, largest = max(longest, (one.seconds, case.name)), max(largest, (one.megabytes, case.name))
        if not asked.check:
            # After each group, so that what was found stays when somebody stops it; others may have written meanwhile.
            text = PAGE.read_text("utf-8")
            there = rows_of(text)
            PAGE.write_text(page(text, {**there, group: known.get(group, {})}), "utf-8")
    print(f"{count} inputs, {len(wrong)} of them not as expected: {', '.join(wrong) or 'none'}")
    print(f"the longest {longest[0]:.1f} s ({longest[1]}), the most memory {largest[0]:.0f} MB ({largest[1]})")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
