"""How many small faults in `post`, `data/splits`, `runs` and `files` the fast tests notice: mutmut's mutants, drawn at random.

A copy of the tree is mutated, so that nothing here changes. A mutant is one small change of a function (another operator,
number, text or argument); it is killed when a test of these packages fails or runs far too long, and survives otherwise. Some
survivors mean the same as the code (a larger default that never counts, another wording), so that not all can be killed.

    python scripts/mutation.py [--each 60] [--seed 0] [--only post runs files splits] [--json FILE] [--survivors]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

TOP = Path(__file__).parents[1]
PARTS = {"post": "mlpipe.post.", "splits": "mlpipe.data.splits.", "runs": "mlpipe.runs.", "files": "mlpipe.files."}
COPIED = ("mlpipe", "conf", "tests", "scripts", "docs", "notebooks", "requirements")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "LICENSE")
SURVIVED, UNTESTED = 0, 33
TIMED_OUT = (36, 24, 152, 255, -24, -9)


def run(folder: Path, names: Sequence[str]) -> None:
    """Let mutmut make its mutants, learn which test runs which function, and try the named ones."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "mutmut", "run", *names]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mutmut failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def results(folder: Path) -> dict[str, int | None]:
    """The exit code of the tests for each mutant, None where it was not tried."""
    found: dict[str, int | None] = {}
    for path in sorted((folder / "mutants").rglob("*.meta")):
        found |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return found


def drawn(names: Sequence[str], each: int, seed: int) -> list[str]:
    """Some of the names at random, in their order."""
    return sorted(random.Random(seed).sample(sorted(names), min(each, len(names))))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, hits / n
    centre, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


def table(codes: Mapping[str, int | None], chosen: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    """A row for each part: mutants there are, tried, killed, of these by time, survived, without any test."""
    rows: list[dict[str, object]] = []
    for part, names in chosen.items():
        there = sum(name.startswith(PARTS[part]) for name in codes)
        tried = Counter(codes[name] for name in names)
        n = len(names)
        lost = tried[SURVIVED] + tried[UNTESTED]
        low, high = wilson(n - lost, n)
        late = sum(tried[code] for code in TIMED_OUT)
        rows.append(
            {"part": part, "mutants": there, "tried": n, "killed": n - lost, "by time": late}
            | {"survived": tried[SURVIVED], "no test": tried[UNTESTED]}
            | {"share": round((n - lost) / n, 3), "interval": [round(low, 3), round(high, 3)]}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--survivors", action="store_true", help="print what each survivor changes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COPIED:
            shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(TOP / name, folder / name)
        run(folder, ["mlpipe.nothing"])
        codes = results(folder)
        chosen = {
            part: drawn([n for n in codes if n.startswith(PARTS[part])], given.each, given.seed) for part in given.only
        }
        run(folder, [name for names in chosen.values() for name in names])
        codes = results(folder)
        rows = table(codes, chosen)
        survivors = [name for names in chosen.values() for name in names if codes[name] in (SURVIVED, UNTESTED)]
        if given.survivors:
            for name in survivors:
                subprocess.run([sys.executable, "-m", "mutmut", "show", name], cwd=folder)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    for name in survivors:
        print(f"survived: {name}")
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, "survivors": survivors}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
