"""Measure how many small faults in `post`, splits, `runs` and `files` the fast tests notice: random mutants of mutmut.

The mutants are made in a copy of the tree. A mutant is one small change of a function (another operator, number, text or
argument); it is killed if a test of its part fails or takes far too long, otherwise it survives. Some mutants are equivalent to
the code (a default that never matters, another wording), so that not all can be killed.

    python scripts/mutation.py [--each 60] [--seed 0] [--only post runs files splits] [--json FILE] [--show]
    python scripts/mutation.py --again FILE    # with more tests: try only the survivors of that draw
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
COPIED = ("mlpipe", "conf", "tests", "scripts", "docs", "notebooks", "requirements")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "LICENSE")
SURVIVED, UNTESTED = 0, 33
TIMED_OUT = (36, 24, 152, 255, -24, -9)
# Mutants are created without a run, so that only a sample of them can be tried.
GENERATE = """
from mutmut import __main__ as mutmut
mutmut.set_mutant_under_test("mutant_generation")
mutmut.makedirs("mutants")
mutmut.copy_src_dir()
mutmut.copy_also_copy_files()
mutmut.create_mutants(1)
"""


@dataclass(frozen=True)
class Part:
    """A part of the package with its tests.

    Attributes:
        sources: Patterns of the mutated files.
        tests: Files and folders of the tests that may kill the mutants.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "post": Part(("mlpipe/post/**/*.py",), ("tests/post",)),
    "splits": Part(
        ("mlpipe/data/splits/*.py",),
        ("tests/data/splits",),
    ),
    "runs": Part(("mlpipe/runs/*.py",), ("tests/runs",)),
    "files": Part(("mlpipe/files.py",), ("tests/test_files.py",)),
}


def copy(folder: Path, part: Part) -> None:
    """Copy the tree, and set mutmut's keys for the sources and tests of a part."""
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(TOP / name, folder / name)
    settings = folder / "pyproject.toml"
    text = settings.read_text("utf-8")
    for key, values in {"only_mutate": part.sources, "pytest_add_cli_args_test_selection": part.tests}.items():
        text, count = re.subn(rf"^{key} = \[.*\]$", f"{key} = {json.dumps(values)}", text, flags=re.MULTILINE)
        if count != 1:
            sys.exit(f"pyproject.toml: `{key}` of [tool.mutmut] is not one line")
    settings.write_text(text, "utf-8")


def run(folder: Path, *words: str) -> str:
    """Run Python in the copy; return its output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mutmut failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def results(folder: Path) -> dict[str, int | None]:
    """Return the exit code of the tests for each mutant; None if it was not tried."""
    codes: dict[str, int | None] = {}
    for path in sorted((folder / "mutants").rglob("*.meta")):
        codes |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return codes


def drawn(names: Sequence[str], each: int, seed: int) -> list[str]:
    """Return a random sample of the names, sorted."""
    return sorted(random.Random(seed).sample(sorted(names), min(each, len(names))))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, hits / n
    centre, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


def tried(
    folder: Path, part: Part, names: Sequence[str] | None, each: int, seed: int, jobs: int
) -> dict[str, int | None]:
    """Try mutants of a part; return the exit code of the tests for each mutant, None for those not tried."""
    copy(folder, part)
    run(folder, "-c", GENERATE)
    there = results(folder)
    run(
        folder,
        "-m",
        "mutmut",
        "run",
        "--max-children",
        str(jobs),
        *(drawn(list(there), each, seed) if names is None else names),
    )
    return results(folder)


def row(part: str, there: int, codes: Mapping[str, int]) -> dict[str, object]:
    """Return the numbers of mutants: all, tried, killed, killed by a timeout, survived, without any test."""
    counts, n = Counter(codes.values()), len(codes)
    lost = counts[SURVIVED] + counts[UNTESTED]
    low, high = wilson(n - lost, n)
    late = sum(counts[code] for code in TIMED_OUT)
    return (
        {"part": part, "mutants": there, "tried": n, "killed": n - lost, "by time": late}
        | {"survived": counts[SURVIVED], "no test": counts[UNTESTED]}
        | {"share": round((n - lost) / n, 3), "interval": [round(low, 3), round(high, 3)]}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="number of mutants tried at the same time")
    parser.add_argument("--json", type=Path, help="write the rows and the exit code of each mutant")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try the survivors in such a file again")
    parser.add_argument("--show", action="store_true", help="print what each survivor changes")
    arguments = parser.parse_args()
    before = json.loads(arguments.again.read_text("utf-8")) if arguments.again else {"rows": [], "codes": {}}
    rows, codes = [], dict[str, dict[str, int]]()
    for part in [row["part"] for row in before["rows"]] or arguments.only:
        old = before["codes"].get(part, {})
        again = [name for name, code in old.items() if code in (SURVIVED, UNTESTED)]
        there = next((row["mutants"] for row in before["rows"] if row["part"] == part), 0)
        with tempfile.TemporaryDirectory() as temporary:
            tested: Mapping[str, int | None] = old
            if again or not old:
                folder = Path(temporary) / "tree"
                tested = tried(folder, PARTS[part], again or None, arguments.each, arguments.seed, arguments.jobs)
                there = len(tested)
            codes[part] = old | {name: code for name, code in tested.items() if code is not None}
            if arguments.show:
                for name in (name for name, code in codes[part].items() if code in (SURVIVED, UNTESTED)):
                    print(run(folder, "-m", "mutmut", "show", name), flush=True)
        rows.append(row(part, there, codes[part]))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps({"rows": rows, "codes": codes}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
