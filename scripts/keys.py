"""Write `docs/keys.md`: all groups, options and keys with their defaults and meaning, as in `mml help`.

python scripts/keys.py            write the page
python scripts/keys.py --check    exit with 1 if the page is outdated
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from mlpipe.config import catalog, keys
from mlpipe.config.keys import NEEDED, Key
from mlpipe.errors import listing

PAGE = catalog.docs_dir() / "keys.md"
_HEAD = """# All keys

All groups, options and keys of the configuration, written by `scripts/keys.py` from the files in `conf/` and the docstrings of
the code that they name. `mml help` shows the same: `mml help optimizer`, `mml help optimizer.lr`, `mml help learning rate`.
`mml train --cfg job` shows the configuration of a command.

Choose a group's option with `GROUP=OPTION`; the default is in bold. Set a key with `KEY=VALUE`. A default such as
`${recommend.lr}` is another key's value, which a task recommends. *needed*: there is no default.
"""


def text() -> str:
    """Return the whole page."""
    alone = [key for key in keys.all_keys().values() if not key.group]
    parts = [_HEAD, "## Keys of no group\n", *_keys(alone, [])]
    for group in (*catalog.groups(), keys.LAUNCHER):
        parts += _group(group)
    return "\n".join(parts)


def _group(group: str) -> list[str]:
    short = next((f" (also `{name}`)" for name, full in catalog.ALIASES.items() if full == group), "")
    title = "mode: the first word of a command" if group == "mode" else group
    default, options = keys.defaults().get(group, ""), keys.options(group)
    lines = [f"\n## {title}{short}\n", "| option | what it is for |", "|---|---|"]
    for name in options:
        purpose, _, example = catalog.purpose(group, name).partition(": mml ")
        shown = f"**{name}**" if name == default and group != "mode" else name
        lines.append(f"| {shown} | {_cell(purpose)}{f': `mml {_cell(example)}`' if example else ''} |")
    # Keys that tasks recommend are listed with the keys of no group.
    own = [key for name, key in keys.of_group(group).items() if name.startswith(f"{group.replace('/', '.')}.")]
    listed = [*own, *keys.keys_without_file(group).values()]
    return [*lines, "", *_keys(listed, options)]


def _keys(listed: Iterable[Key], options: Sequence[str]) -> list[str]:
    rows = [row for key in listed for row in _rows(key, options)]
    return ["| key | may be | default | meaning |", "|---|---|---|---|", *rows] if rows else []


def _rows(key: Key, options: Sequence[str]) -> list[str]:
    """Return a row for each meaning of a key, with the options in which it has this meaning."""
    meanings: dict[str, list[str]] = {}
    for setting in key.settings:
        meanings.setdefault(key.meaning(setting.option), []).append(setting.option)
    rows = []
    for meaning, names in meanings.items():
        where = "" if len(names) == len(options) or names == [""] else f" ({listing(names, most=30)})"
        values = _cell(key.values(names[0]))
        rows.append(f"| `{key.name}`{where} | {values} | {_default(key, names)} | {_cell(meaning)} |")
    return rows


def _default(key: Key, names: Sequence[str]) -> str:
    by_text: dict[str, list[str]] = {}
    for name in names:
        by_text.setdefault(key.default(name), []).append(name)
    shown = {"": "not set", NEEDED: "*needed*"}
    cells = {text: shown.get(text, f"`{_cell(text)}`") for text in by_text}
    if len(by_text) == 1:
        return next(iter(cells.values()))
    return ", ".join(f"{cells[text]} in {listing(options, most=6)}" for text, options in by_text.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        return int(PAGE.read_text("utf-8") != text())
    PAGE.write_text(text(), "utf-8")
    print(f"{len(keys.all_keys())} keys in {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
