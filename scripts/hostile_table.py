"""Write the table of docs/safety.md: every hostile input of the tests with the error message that it causes.

python scripts/hostile_table.py                          # try all inputs and write the table
python scripts/hostile_table.py --group weights          # try one group and write its rows; may be repeated
python scripts/hostile_table.py --missing                # try inputs without a row, drop rows of removed inputs
python scripts/hostile_table.py --check                  # write nothing, report whether all end as the tests expect

An input also fails if its command takes more than 30 seconds or more than two gigabytes of memory (Linux).
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
    """The outcome of an input.

    Attributes:
        row: Its line in the table.
        faults: Deviations from what is expected, in words.
        seconds: Duration of building it and of its command.
        megabytes: Peak memory of the process meanwhile; 0 if the system does not report it.
    """

    row: str
    faults: list[str]
    seconds: float
    megabytes: float


def sentence(outcome: Outcome, root: str) -> str:
    """Return the first sentence of an outcome for the table, without the temporary folder."""
    text = outcome.sentences[0] if outcome.code else "allowed"
    text = re.sub(re.escape(root) + r"(/work|/results|/data)?/?", "", text)
    text = text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def tried(case: Hostile) -> Tried:
    """Try an input in a temporary folder."""
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
        faults += ["unexpected"] * any(sentence.startswith("unexpected ") for sentence in outcome.sentences)
        faults += [f"{seconds:.0f} s"] * (seconds > _MOST_SECONDS)
        faults += [f"{megabytes:.0f} MB"] * (megabytes > _MOST_MEGABYTES)
        row = f"| {case.name} | {outcome.code} | `{sentence(outcome, folder)}` |"
        return Tried(row, faults, seconds, megabytes)


def _forget_peak() -> None:
    """Reset the peak memory of this process (Linux)."""
    if (file := Path("/proc/self/clear_refs")).exists():
        file.write_text("5")


def _peak() -> float:
    file = Path("/proc/self/status")
    match = re.search(r"VmHWM:\s*(\d+) kB", file.read_text("utf-8")) if file.exists() else None
    return int(match[1]) / 1024 if match else 0.0


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """Return the rows of the table in a page, by group and input.

    Args:
        text: The page.
    """
    rows: dict[str, dict[str, str]] = {}
    group: dict[str, str] = {}
    for line in text.partition(BEGIN)[2].splitlines():
        if line.startswith("### "):
            group = rows.setdefault(line[4:].lower(), {})
        elif line.startswith("| ") and line not in _HEAD:
            group[line[2:].partition(" | ")[0]] = line
    return rows


def page(text: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return a page with a table of the existing inputs.

    Args:
        text: The page.
        rows: As returned by `rows_of`; inputs without a row are left out.
    """
    lines, count = list[str](), 0
    for group, cases in GROUPS.items():
        own = [rows[group][case.name] for case in cases if case.name in rows.get(group, {})]
        count += len(own)
        lines += [f"### {group.capitalize()}", "", *_HEAD, *own, ""]
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n{count} inputs:\n\n" + "\n".join(lines)


def main() -> int:
    """Try inputs and write their rows; return 1 if an input did not end as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="only this group; may be repeated")
    parser.add_argument("--missing", action="store_true", help="only inputs without a row")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    known = rows_of(PAGE.read_text("utf-8"))
    wrong, longest, largest = list[str](), (0.0, ""), (0.0, "")
    count = 0
    for group in options.group or GROUPS:
        for case in GROUPS[group]:
            if options.missing and case.name in known.get(group, {}):
                continue
            result, count = tried(case), count + 1
            known.setdefault(group, {})[case.name] = result.row
            wrong += [f"{case.name} ({', '.join(result.faults)})"] * bool(result.faults)
            longest = max(longest, (result.seconds, case.name))
            largest = max(largest, (result.megabytes, case.name))
        if not options.check:
            # Written after each group, so that results survive an interruption; other processes may have written meanwhile.
            text = PAGE.read_text("utf-8")
            stored = rows_of(text)
            PAGE.write_text(page(text, {**stored, group: known.get(group, {})}), "utf-8")
    print(f"{count} inputs, {len(wrong)} of them not as expected: {', '.join(wrong) or 'none'}")
    print(f"the longest {longest[0]:.1f} s ({longest[1]}), the most memory {largest[0]:.0f} MB ({largest[1]})")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
