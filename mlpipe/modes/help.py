"""`mml help WORD`, `mml train --help WORD`: what modes, groups, options and keys mean, and where a word occurs.

mml help                    modes, groups and their options
mml help train              a mode: its keys
mml help optimizer          a group: its options and their keys
mml help optimizer=sgd      an option: its keys
mml help optimizer.lr       a key: its meaning, values and defaults, and where it is used
mml help learning rate      keys, options and lines of the documentation that have these words
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from mlpipe.config import catalog, keys
from mlpipe.config.keys import NEEDED, Key
from mlpipe.errors import ConfigError, listing
from mlpipe.modes import WORDS
from mlpipe.modes.terminal import paragraph, table

# The keys that people change first, in the order of a run.
FIRST = (
    "task.root", "proj", "seed", "time_limit", "trainer.max_epochs", "trainer.accelerator", "trainer.devices",
    "trainer.precision", "optimizer.lr", "optimizer.weight_decay", "lr_scheduler.warmup_epochs", "sampling.batch_size",
    "preprocessing.size", "arch.pretrained", "arch.freeze", "loss.label_smoothing", "loss.class_weights", "split.folds",
    "metrics.monitor", "sys.num_workers",
)  # fmt: skip
_MORE = (
    "mml help optimizer          a group: its options and their keys",
    "mml help optimizer=sgd      an option: its keys",
    "mml help optimizer.lr       a key: meaning, values, defaults, where it is used",
    "mml help learning rate      keys, options and pages that have these words",
    "docs/keys.md                all keys; mml train --cfg job: the configuration of a command",
)  # fmt: skip
_MOST, _MOST_PAGES, _NOWHERE = 12, 3, 3
# Stop words of a question.
_SAID_ALONG = re.compile(
    r"(?i)how|do|does|did|i|can|could|should|to|the|an?|of|in|on|is|are|what|which|where|why|when|my|me|we|you|it|set|change"
    r"|use|get|make|for|with|and|or|want|need|please|mml"
)


def main(words: Sequence[str], extra: tuple[Path, ...] = ()) -> int:
    """Print what is known about the words: a page, or where they occur.

    Args:
        words: The words, the first of which may be a mode; none for the first page.
        extra: Further folders of configuration files.

    Returns:
        0.

    Raises:
        ConfigError: If nothing is known.
    """
    mode, known = "", [word.strip().rstrip(".=") for word in words if word not in ("-h", "--help")]
    known = [word for word in known if word]
    # Only the nouns and verbs of a question are searched.
    spoken = [part.strip("?!,.") for word in known for part in word.split()]
    if len(spoken) > 1 and (terms := [word for word in spoken if not _SAID_ALONG.fullmatch(word)]) and terms != spoken:
        known = terms
    if len(known) > 1 and known[0] in catalog.options("mode", extra):
        mode, known = known[0], known[1:]
        # A key of the mode can also be named by its last word.
        own = keys.of_option("mode", mode, extra)
        known = [f"mode.{word}" if f"mode.{word}" in own else word for word in known]
    if not known:
        print(front_page())
    elif mode and sum("=" in word for word in known) > 1:
        # A whole command, which asks for nothing by itself.
        print(mode_page(mode, extra))
    elif pages := [page for word in known for page in _pages(word, mode, extra)] if _are_names(known) else []:
        print("\n\n".join(pages))
    elif not any(_is_no_option(word, extra) for word in known) and (
        paragraphs := [*_foreign_meanings("_".join(known), mode), *occurrences(known)]
    ):
        print("\n\n".join(paragraphs))
    else:
        raise ConfigError(_unknown_sentence(" ".join(known)))
    return 0


def front_page() -> str:
    """Print the first page: modes, groups with their options, command-line options."""
    lines = ["mml MODE [group=option] [key=value] ...", "", "modes (mml MODE --help shows a mode's keys):"]
    lines += [f"  {name:9} {catalog.purpose('mode', name)}" for name in catalog.options("mode")]
    lines += ["", "words that run nothing:", *(f"  {name:9} {purpose}" for name, purpose in WORDS.items())]
    lines += ["", "groups and their options, the one that is used by itself first:", *_groups()]
    lines += [
        "",
        "arch=NAME also takes every timm name, also with a tag (resnet18.a1_in1k); task=NAME also takes a task created earlier.",
        "-m runs every combination of comma-separated values: mml train arch=resnet18,resnet50 -m",
        "hpo=optuna searches: mml train hpo=optuna search_space=basic hpo.trials=20 hpo.study=first",
        "--cfg job shows the configuration, --dry-run the plan, --json prints results as JSON, --config-dir DIR adds",
        "a folder of configuration files, --version prints the version.",
        "",
        "more:",
        *(f"  {line}" for line in _MORE),
    ]
    return "\n".join(lines)


def mode_page(mode: str, extra: tuple[Path, ...] = ()) -> str:
    """Print a mode's page: its purpose, the keys changed first if it trains, its own keys, and the groups."""
    own = keys.of_option("mode", mode, extra)
    lines = [f"mml {mode} [group=option] [key=value] ...", "", *_head("mode", mode, extra)]
    if "mode.nested" in own:
        lines += ["", "keys that are changed first:", *table(_row(key, _usual(key)) for key in map(_key, FIRST))]
    if own:
        lines += ["", "keys of the mode:", *table(_row(key, mode) for key in own.values())]
    if "mode.nested" in own:
        lines += ["", "groups and their options, the one that is used by itself first:", *_groups()]
        lines += ["", "more:", *(f"  {line}" for line in _MORE)]
    else:
        lines += ["", "Groups (task=NAME and others) and keys of no mode (proj=NAME and others): mml help"]
    return "\n".join(lines)


def group_page(group: str, extra: tuple[Path, ...] = ()) -> str:
    """Print a group's page: its options, the keys of the default option, and the keys of only the others."""
    names = keys.options(group, extra)
    chosen = keys.defaults().get(group, "")
    also = next((f", also written {short}" for short, full in catalog.ALIASES.items() if full == group), "")
    lines = [f"{group}=OPTION{also}; options{', ' + chosen + ' where nothing is said' if chosen else ''}:"]
    lines += table((name, _purpose(group, name, extra).partition(": mml ")[0]) for name in names)
    group_keys = list(keys.of_group(group, extra).values())
    of_chosen = [key for key in group_keys if chosen in key.options]
    others = [key for key in group_keys if chosen not in key.options]
    if of_chosen:
        lines += ["", f"keys of {group}={chosen}:", *table(_row(key, chosen) for key in of_chosen)]
    if others:
        title = f"keys that {group}={chosen} does not have:" if of_chosen else "keys:"
        lines += ["", title, *table(_row_with_options(key, names) for key in others)]
    if further := keys.keys_without_file(group):
        lines += ["", "keys that may be given besides:", *table(_row(key, "") for key in further.values())]
    lines += ["", f"mml help {group}=OPTION shows one option, mml help KEY all that is known of a key."]
    return "\n".join([*lines, *_pages_naming(rf"\b{group}=")])


def option_page(group: str, option: str, extra: tuple[Path, ...] = ()) -> str:
    """Print an option's page: its purpose, and its keys with their full meaning."""
    own = keys.of_option(group, option, extra)
    lines = [f"{group}={option}", "", *_head(group, option, extra)]
    if own:
        lines += ["", "keys:"]
        lines += table((key.name, _default(key, option), key.meaning(option)) for key in own.values())
    return "\n".join([*lines, *_pages_naming(rf"\b{group}={option}\b")])


def key_page(key: Key, option: str = "") -> str:
    """Print a key's page: meaning, values, defaults of all options, users, and pages that mention it.

    Args:
        key: The key.
        option: The option asked about; empty: the group's default.
    """
    usual = option or _usual(key)
    facts: list[tuple[str, str]] = [("meaning", key.meaning(usual))]
    meanings: dict[str, list[str]] = {}
    for setting in key.settings:
        meanings.setdefault(key.meaning(setting.option), []).append(setting.option)
    facts += [(f"in {listing(names, most=4)}", text) for text, names in meanings.items() if text != key.meaning(usual)][
        :_MOST
    ]
    if values := key.values(usual):
        facts.append(("values", values))
    facts += [("default", text) for text in _defaults(key)]
    missing = [name for name in keys.options(key.group) if name not in key.options] if key.group else []
    if key.group and key.group != "trainer":
        whole = f"all of {key.group}" if not missing else listing(key.options, most=30)
        facts.append(("modes" if key.group == "mode" else "options", whole))
    facts += [("used by", text) for text in _users(key)]
    example = f"mml {usual if key.group == 'mode' else 'train'} {key.name}=VALUE"
    facts.append(("write", f"{example} ({key.group}={usual} has it)" if _needs_option(key, usual) else example))
    return "\n".join([key.name, *table(facts), *_pages_naming(_key_pattern(key.name))])


def _key_pattern(name: str) -> str:
    """Return the pattern by which a page names a key; a short name is also an ordinary word."""
    return rf"(?<![\w.]){re.escape(name)}\b" if "." in name else rf"(?<![\w.-]){name}=|`{name}`"


def occurrences(words: Sequence[str]) -> list[str]:
    """Return where all words occur: groups, keys, options and modes, documentation pages; empty: nowhere.

    Args:
        words: The words; case is ignored, and words that begin with one count.
    """
    # For an override that sets no key, its name is searched.
    texts = [text.partition("=")[0] or text for text in words]
    terms = [word.lower() for text in texts for word in text.split()]
    paragraphs = _occurrences(terms, len(terms))
    if not paragraphs and len(terms) > 1:
        # Fall back to most of the words, if nothing contains all of them.
        paragraphs = next((some for least in range(len(terms) - 1, 0, -1) if (some := _occurrences(terms, least))), [])
        return (
            [f"nothing has all words; {'one of them is' if len(terms) == 2 else 'most of them are'} in:", *paragraphs]
            if paragraphs
            else []
        )
    return paragraphs


def _occurrences(terms: Sequence[str], least: int) -> list[str]:
    """Return where at least so many of the words occur."""
    paragraphs = []
    if groups := [group for group in _all_groups() if sum(word in group for word in terms) >= least]:
        paragraphs.append("\n".join(["groups:", *table((group, ", ".join(keys.options(group))) for group in groups)]))
    rows = [(_rank(terms, least, key.leaf, key.meaning()), key) for key in keys.all_keys().values()]
    # Keys that people change first rank higher, keys that a task recommends rank lower.
    best = sorted(
        (
            rank - (key.name in FIRST),
            FIRST.index(key.name) if key.name in FIRST else len(FIRST),
            key.name.startswith("recommend."),
            at,
        )
        for at, (rank, key) in enumerate(rows)
        if rank < _NOWHERE
    )
    if best:
        lines = table((rows[at][1].name, rows[at][1].summary()) for *_, at in best[:_MOST])
        paragraphs.append("\n".join(["keys:", *lines, *_more_line(len(best))]))
    listed = []
    for group, name in _options():
        purpose = catalog.purpose(group, name)
        if (rank := _rank(terms, least, name, purpose)) < _NOWHERE:
            listed.append((rank, f"{group}={name}" if group != "mode" else f"mml {name}", purpose))
    if listed:
        lines = table((name, purpose) for _, name, purpose in sorted(listed)[:_MOST])
        paragraphs.append("\n".join(["options and modes:", *lines, *_more_line(len(listed))]))
    if least == len(terms):
        paragraphs += _pages_with(lambda line: all(word in line.lower() for word in terms), _MOST // 2)
    return paragraphs


def _pages(word: str, mode: str, extra: tuple[Path, ...]) -> list[str]:
    """Return the pages that a word names exactly, ignoring case."""
    return list(_pages_by_name(word, mode, extra)) or list(_pages_by_name(word.lower(), mode, extra))


def _pages_by_name(word: str, mode: str, extra: tuple[Path, ...]) -> Iterator[str]:
    """Return the pages of a mode, of one of the words beside it, a group, an option, a key."""
    name, equals, option = word.partition("=")
    head, dot, rest = name.partition(".")
    name = f"{catalog.ALIASES.get(head, head)}{dot}{rest}"
    groups = [*catalog.groups(extra), keys.LAUNCHER]
    if not equals and name in catalog.options("mode", extra):
        yield mode_page(name, extra)
    elif not equals and name in WORDS:
        yield _manual(name)
    if name in groups and option in catalog.options(name, extra):
        yield option_page(name, option, extra) if name != "mode" else mode_page(option, extra)
    elif name in groups and (not equals or not option or name == "task"):
        yield group_page(name, extra)
    elif name == "arch" and _is_network(option):
        yield option_page(name, "timm", extra)
    elif (key := keys.find(name)) is not None:
        yield key_page(key, mode if mode in key.options else "")
    elif not equals and (below := [key for key in keys.all_keys() if key.startswith(f"{name}.")]):
        yield "\n".join([f"{name}: keys", *table(_row(_key(key_name), "") for key_name in below)])


def _manual(word: str) -> str:
    """Return the usage of a word that runs no steps: the docstring of its module."""
    name = f"mlpipe.modes.{word}"
    text = importlib.import_module(name).__doc__ if importlib.util.find_spec(name) else None
    return inspect.cleandoc(text) if text else f"mml {word}: {WORDS[word]}"


def _is_no_option(word: str, extra: tuple[Path, ...]) -> bool:
    """Return whether a word selects an option that a group does not have."""
    return word.partition("=")[0] in catalog.groups(extra) and "=" in word


def _is_network(name: str) -> bool:
    from mlpipe.arch.names import is_network

    return is_network(name)


def _are_names(words: Sequence[str]) -> bool:
    """Return whether words are names of pages (one word, or keys and options in a row), not a phrase to search."""
    return len(words) == 1 or all("." in word or "=" in word for word in words)


def _unknown_sentence(text: str) -> str:
    """Return the sentence for an unknown word, with similar names."""
    names = [*catalog.groups(), *catalog.options("mode"), *WORDS, *catalog.ALIASES, *keys.all_keys()]
    leaves = {key.leaf: key.name for key in keys.all_keys().values()}
    options = {f"{group}={name}": f"{group}={name}" for group, name in _options() if group != "mode"}
    bare = {name: full for full in options for name in [full.partition("=")[2]]}
    table = {**bare, **leaves, **options, **{name: name for name in names}}
    near = [table[match] for match in difflib.get_close_matches(text.lower(), table, n=4, cutoff=0.6)]
    fix = f"near names: {listing(dict.fromkeys(near))}" if near else "mml help lists modes, groups and options"
    if not near and (networks := _networks(text)):
        fix = f"for networks: mml models {networks}"
    return f"help: nothing is known of {text!r}; {fix}"


def _foreign_meanings(word: str, mode: str) -> list[str]:
    """Return mlpipe's name for a key or option of another program; empty if there is none."""
    from mlpipe.config import suggestions

    suggestion = suggestions.for_word(word, mode or "train", "VALUE")
    return [f"{word}, as other programs call it: {suggestion}"] if suggestion else []


def _networks(text: str) -> str:
    """Return the word itself if names of networks contain it; empty otherwise."""
    from mlpipe.arch.names import timm_names

    return text if any(text.lower() in name for name in timm_names()) else ""


def _key(name: str) -> Key:
    key = keys.find(name)
    assert key is not None, name
    return key


def _usual(key: Key) -> str:
    """Return the option whose setting of a key is shown: the group's default, else the plainest one that has it."""
    preferred = (keys.defaults().get(key.group, ""), "train", "folder")
    return next((name for name in preferred if name in key.options), key.settings[0].option)


def _needs_option(key: Key, option: str) -> bool:
    return bool(key.group) and key.group != "mode" and option != keys.defaults().get(key.group)


def _row(key: Key, option: str) -> tuple[str, str, str]:
    usual = option or _usual(key)
    return key.name, _default(key, usual), key.summary(usual)


def _row_with_options(key: Key, names: Sequence[str]) -> tuple[str, str, str]:
    """Format a key that only some options have, with those options after its meaning."""
    usual = _usual(key)
    if len(key.options) == len(names):
        return _row(key, usual)
    return key.name, _default(key, usual), f"{key.summary(usual).rstrip('.')} ({listing(key.options, most=4)})."


def _default(key: Key, option: str) -> str:
    """Shorten a default: the value in the file, or the key that it is taken from."""
    text = key.default(option) or "not set"
    if text == NEEDED:
        return "(needed)"
    text = keys.referenced_key(text) or text
    return text if len(text) <= 24 else f"{text[:21]}..."


def _defaults(key: Key) -> Iterator[str]:
    """Return the defaults of a key with the options that have them, the most frequent first, and their references."""
    by_text: dict[str, list[str]] = {}
    for setting in key.settings:
        by_text.setdefault(setting.default or "not set", []).append(setting.option)
    for text, names in sorted(by_text.items(), key=lambda pair: -len(pair[1])):
        where = "" if len(by_text) == 1 else f" in {listing([name or 'other tasks' for name in names], most=8)}"
        phrase = "has none: it must be given" if text == NEEDED else text
        yield f"{phrase}{where}{_referred_default(text)}"


def _referred_default(text: str) -> str:
    """Return the resolved value of a default that refers to another key, and which tasks override it."""
    name = keys.referenced_key(text)
    if not name or (key := keys.find(name)) is None:
        return ""
    others = [f"{setting.option} {setting.default}" for setting in key.settings[1:]] if key.group == "" else []
    return f", which is {key.default()}{' (task=' + listing(others, most=8) + ')' if others else ''}"


def _users(key: Key) -> Iterator[str]:
    """Return what receives a key, and the keys whose default is taken from it."""
    targets = dict.fromkeys(setting.target for setting in key.settings if setting.target.startswith("mlpipe."))
    if targets:
        yield listing(targets, most=6)
    if below := keys.references(key.name):
        yield f"{listing(below, most=8)}, which {'takes' if len(below) == 1 else 'take'} it by default"


def _groups() -> list[str]:
    shorts = {full: short for short, full in catalog.ALIASES.items()}
    titles = [(group, f"{group} ({shorts[group]})" if group in shorts else group) for group in catalog.groups()]
    rows = [(title, ", ".join(keys.options(group))) for group, title in titles if group != "mode"]
    return table([*rows, (keys.LAUNCHER, f"{', '.join(keys.options(keys.LAUNCHER))} (with -m)")])


def _options() -> Iterator[tuple[str, str]]:
    return ((group, name) for group in _all_groups() for name in catalog.options(group))


def _all_groups() -> list[str]:
    return [*catalog.groups(), keys.LAUNCHER]


def _head(group: str, option: str, extra: tuple[Path, ...]) -> list[str]:
    """Return the comment at the top of an option's file: its purpose, and further text."""
    first, *others = _comment(group, option, extra)
    return [*paragraph(first), *paragraph(" ".join(others))]


def _purpose(group: str, option: str, extra: tuple[Path, ...]) -> str:
    """Return the purpose of an option; for the program's own options, `catalog.purpose`."""
    return _comment(group, option, extra)[0]


def _comment(group: str, option: str, extra: tuple[Path, ...]) -> list[str]:
    lines = keys.option_text(group, option, extra).splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.lstrip("# ") for line in lines[:end] if not line.startswith("# @")] or [""]


def _rank(terms: Sequence[str], least: int, name: str, text: str) -> int:
    """Rank a match; 0: the words are the name; 1: the name contains them; 2: name and text do; `_NOWHERE`: neither."""
    if "_".join(terms) == name:
        return 0
    if sum(word in name for word in terms) >= least:
        return 1
    lower = f"{name} {text}".lower()
    beginnings = set(re.split(r"[\W_]+", lower))
    fits = (
        any(beginning.startswith(word) for beginning in beginnings) if word.isalnum() else word in lower
        for word in terms
    )
    return 2 if sum(fits) >= least else _NOWHERE


def _more_line(count: int) -> list[str]:
    return [f"  and {count - _MOST} more"] if count > _MOST else []


@cache
def _texts() -> dict[str, list[str]]:
    """Return the lines of each documentation page except the list of keys; empty if there is no documentation."""
    folder = catalog.docs_dir()
    pages = sorted(file for file in folder.rglob("*.md") if file.name != "keys.md") if folder.is_dir() else []
    return {f"docs/{file.relative_to(folder).as_posix()}": file.read_text("utf-8").splitlines() for file in pages}


def _pages_with(fits: Callable[[str], bool], most: int) -> list[str]:
    """Return pages with matching lines (page, title, line): matching titles first, then those with most such lines."""
    matches = []
    for page, lines in _texts().items():
        if places := [at for at, line in enumerate(lines) if fits(line)]:
            matches.append((not fits(_title(lines, page)), -len(places), page, places[0]))
    quotes = [line for *_, page, place in sorted(matches)[:most] for line in _quoted(page, place)]
    rest = [f"  and {len(matches) - most} more"] if len(matches) > most else []
    return ["\n".join(["pages:", *quotes, *rest])] if matches else []


def _pages_naming(pattern: str) -> list[str]:
    """Return the pages that mention something, for the bottom of a help page."""
    regex = re.compile(pattern)
    paragraphs = _pages_with(lambda line: regex.search(line) is not None, _MOST_PAGES)
    return ["", *paragraphs] if paragraphs else []


def _title(lines: Sequence[str], page: str) -> str:
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), Path(page).stem)


def _quoted(page: str, place: int) -> Iterator[str]:
    lines = _texts()[page]
    yield f"  {page}:{place + 1} ({_title(lines, page)})"
    line = lines[place].strip().strip("|").strip()
    yield from textwrap.wrap(line, 100, initial_indent="      ", subsequent_indent="      ", max_lines=2)
