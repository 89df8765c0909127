"""Candidates for the word being typed: modes, flags, groups, options, keys, values, tasks, projects, runs, files.

Names are read from folders, values from conf files and signatures; nothing is imported or run to find them, and names
that a shell would have to quote are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mlpipe import current_folder, modes
from mlpipe.arch import names
from mlpipe.config import catalog, keys, rules
from mlpipe.config.environment import base_folder
from mlpipe.config.keys import Key
from mlpipe.errors import ConfigError

# Letters, digits and marks that no shell treats specially.
_PLAIN = re.compile(r"[\w+.,:@%/#=~\[\]-]+")
# A candidate with one of these endings can be continued.
_GO_ON = tuple("=./,[#")
# Limits on the folder entries examined, and on the runs, records and names offered.
_MOST_ENTRIES, _MOST_NAMES = 10_000, 2_000
_MOST_LETTERS = 70
# Options accepted in every mode, in long form; the last two take a value.
FLAGS = tuple(name for name in (*modes.FLAGS, *modes.WITH_VALUE) if name.startswith("--"))
_WITH_VALUE = (*modes.WITH_VALUE, "--config", "--app")
# Modes that may be followed by a path.
_OF_PATHS = ("train", "predict")
_OF_TASKS = ("task_list", "mode.eval_on", "mode.co_tasks", "mode.pretrain_task")
_OF_RUNS = ("continue", "mode.run")
_OF_PROJECTS = ("reuse.models", "reuse.parameters", "reuse.predictions", "reuse.blueprint")
_OF_STUDIES = ("use_best_params", "hpo.study", "mode.study_name")
_OF_FOLDERS = ("out_dir", "data_dir")
# Words in a key's description that mark its value as a file or folder.
_OF_FILES = re.compile(r"\b(files?|folders?|archives?|FILE|DIR)\b")
# Words in descriptions that are about files but name none.
_NO_FILES = ("name", "path", "suffix", "train_tag", "id")
_SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Candidate:
    """One possible completion of a word.

    Attributes:
        text: The whole word.
        about: A short description; empty if there is none.
    """

    text: str
    about: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the word is complete, so that only another word can follow."""
        return not self.text.endswith(_GO_ON)


def of(
    words: Sequence[str], word: str, environment: Mapping[str, str], *, with_meanings: bool = True
) -> list[Candidate]:
    """Return the candidates for a word, each beginning with it, the likeliest first.

    Args:
        words: The words between the command and it, without quotes.
        word: The word so far; may be empty.
        environment: The environment variables.
        with_meanings: Whether to include descriptions, which takes some time.
    """
    command = _Said(words, environment, with_meanings)
    candidates = dict[str, Candidate]()
    for candidate in islice(_candidates(command, word), _MOST_NAMES):
        if candidate.text.startswith(word) and candidate.text != word and _PLAIN.fullmatch(candidate.text):
            candidates.setdefault(candidate.text, candidate)
    return list(candidates.values())


class _Said:
    """What the words before the one being typed say."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], with_meanings: bool) -> None:
        self.environment, self.with_meanings = environment, with_meanings
        self.mode, self.asks_help = "", False
        self.values: dict[str, str] = {}
        folders: list[str] = []
        # The command-line option whose value the word is; empty: none.
        self.option = ""
        for word in words:
            name, equals, value = word.partition("=")
            if self.option:
                folders += [word] if self.option in ("--config-dir", "-cd") else []
                self.option = ""
            elif name in _WITH_VALUE and not equals:
                self.option = name
            elif name in ("--config-dir", "-cd"):
                folders.append(value)
            elif word in ("--help", "-h"):
                self.asks_help = True
            elif not self.mode and not word.startswith("-") and not equals:
                self.mode = word
            elif equals:
                self.values[_full(name)] = value
        self.folders = tuple(path for path in map(current_folder.expanded, folders) if path.is_dir())

    @property
    def out_dir(self) -> Path:
        return current_folder.expanded(base_folder("out_dir", self.values.get("out_dir"), self.environment))

    @property
    def data_dir(self) -> Path:
        return current_folder.expanded(base_folder("data_dir", self.values.get("data_dir"), self.environment))

    @property
    def project(self) -> Path:
        return self.out_dir / self.values.get("proj", "default")

    def options(self, group: str) -> list[str]:
        """Return the chosen options of a group: those on the line, else the default."""
        if group == "mode":
            return [self.mode]
        text = self.values.get(group, "")
        return [option for option in re.split(r"[\[\],]", text) if option] or [keys.defaults().get(group, "")]


def _full(key: str) -> str:
    """Return a key without its prefix marks, with `cbs` written out."""
    head, dot, rest = key.lstrip("+~").partition(".")
    return catalog.ALIASES.get(head, head) + dot + rest


def _candidates(command: _Said, word: str) -> Iterator[Candidate]:
    if command.option or word.startswith(("--config-dir=", "--config=")):
        yield from _option_values(command.option or word.partition("=")[0], word)
    elif not command.mode and "=" not in word:
        yield from map(Candidate, FLAGS) if word.startswith("-") else _modes(command)
    elif command.mode in modes.WORDS:
        yield from _word_arguments(command, word)
    elif word.startswith("-") and "=" not in word:
        yield from map(Candidate, FLAGS)
        yield from map(Candidate, ("--config", "--app") if command.mode == "train" else ())
        if command.mode in modes.SCRIPTS:
            yield from (
                Candidate(f"--{key.leaf}", _key_meaning(command, key, command.mode)) for key in _mode_keys(command)
            )
    elif "=" in word:
        yield from _values(command, word)
    else:
        yield from _keys(command, word, "" if command.asks_help else "=")
        if command.mode in _OF_PATHS and word:
            yield from _paths("", word)


def _option_values(option: str, word: str) -> Iterator[Candidate]:
    """Return the values of a command-line option."""
    head = word[: word.find("=") + 1] if word.startswith("--") else ""
    if option in ("--cfg", "-c"):
        yield Candidate("job")
    elif option == "--app":
        yield from map(Candidate, ("gan", "obj", "pde"))
    else:
        yield from _paths(head, word[len(head) :], only_folders=option != "--config")


def _modes(command: _Said) -> Iterator[Candidate]:
    for name in catalog.options("mode", command.folders):
        yield Candidate(name, _purpose(command, "mode", name))
    yield from (Candidate(name, _first_clause(about)) for name, about in modes.WORDS.items())


def _word_arguments(command: _Said, word: str) -> Iterator[Candidate]:
    """Return the arguments of a word that is not a mode."""
    key, equals, _ = word.partition("=")
    if command.mode == "completion":
        yield from map(Candidate, _SHELLS)
    elif command.mode == "models":
        yield from map(Candidate, ("--json", *_networks(word)))
    elif command.mode == "help":
        yield from _values(command, word) if equals else (*_modes(command), *_keys(command, word, ""))
    elif command.mode == "doctor":
        if equals and key in (*_OF_FOLDERS, "proj"):
            yield from _values(command, word)
        else:
            yield from map(Candidate, ("proj=", "out_dir=", "data_dir=", "--offline", "--json"))
            yield from map(Candidate, _runs(command.project))


def _keys(command: _Said, word: str, end: str) -> Iterator[Candidate]:
    """Return groups, sections and keys.

    Args:
        command: The words before.
        word: The key so far.
        end: What follows a key: `=`, or nothing if the key is only looked up.
    """
    marks = word[: len(word) - len(word.lstrip("+~"))]
    head, dot, _ = word[len(marks) :].partition(".")
    group = catalog.ALIASES.get(head, head)
    groups = catalog.groups(command.folders)
    if dot and (group in groups or word.startswith("hydra.")):
        for key in _section_keys(command, "hydra/launcher" if head == "hydra" else group, word[len(marks) :]):
            name = f"{head}{key.name[len(group) :]}" if head != "hydra" else key.name
            yield Candidate(f"{marks}{name}{end}", _key_meaning(command, key, *command.options(group)))
        return
    if dot:
        yield from (
            Candidate(f"{marks}{key.name}{end}", _key_meaning(command, key)) for key in keys.top_keys().values()
        )
        return
    for name in sorted({*groups, *catalog.ALIASES} - {"mode"}):
        if len(catalog.options(catalog.ALIASES.get(name, name), command.folders)) > 1 or not end:
            yield Candidate(f"{marks}{name}{end}")
    tops = [key for key in keys.top_keys().values() if "." not in key.name]
    yield from (Candidate(f"{marks}{key.name}{end}", _key_meaning(command, key)) for key in tops)
    yield from (Candidate(f"{marks}{name}{end}", about) for name, about in keys.WORDS.items())
    yield from (
        Candidate(f"{marks}{name}.") for name in sorted({*groups, *catalog.ALIASES}) if _has_keys(command, name)
    )


def _has_keys(command: _Said, group: str) -> bool:
    """Whether a section can have keys: some groups only switch something on."""
    return group in catalog.ALIASES or group not in ("remove", "search_space", "preset") or bool(command.folders)


def _section_keys(command: _Said, group: str, word: str) -> list[Key]:
    """Return the keys of a section: those of the chosen option, or of all options if none of these matches."""
    listed = keys.of_group(group, command.folders)
    chosen = command.options(group)
    # The default task is only an example.
    is_open = group == "task" and group not in command.values
    own = [key for key in listed.values() if is_open or set(key.options) & set(chosen)]
    start = f"{group}.{word.partition('.')[2]}"
    if group == "trainer" or not any(key.name.startswith(start) for key in own):
        own += keys.keys_without_file(group).values()
    return own if any(key.name.startswith(start) for key in own) else list(listed.values())


def _mode_keys(command: _Said) -> list[Key]:
    return [key for key in keys.of_group("mode", command.folders).values() if command.mode in key.options]


def _values(command: _Said, word: str) -> Iterator[Candidate]:
    """Return values of a key, or options of a group; after a comma or bracket, those of one item."""
    typed, _, value = word.partition("=")
    key = _full(typed)
    item = re.split(r"[\[,]", value)[-1]
    head = word[: len(word) - len(item)]
    is_list = value.startswith("[")
    if key in _OF_PROJECTS and "#" in item:
        yield from _records(command, head, item)
        return
    candidates = list(_named_values(command, key, item))
    items = set(re.split(r"[\[,]", value)[:-1])
    if key in ("callbacks", "task_list", "mode.subroutines") and not value:
        yield Candidate(f"{head}[")
        if key != "callbacks":
            return
    for candidate in candidates:
        if candidate.text == item and is_list:
            yield from (Candidate(f"{word}]"), Candidate(f"{word},"))
        elif candidate.text not in items:
            yield Candidate(f"{head}{candidate.text}", candidate.about)
    if not candidates or key in _OF_PROJECTS:
        yield from _paths(head, item, only_folders=key in _OF_FOLDERS) if _names_files(command, key) else ()


def _named_values(command: _Said, key: str, item: str) -> Iterator[Candidate]:
    """Return the values of a key whose values have names."""
    if key in catalog.groups(command.folders) or key == "hydra/launcher":
        yield from (Candidate(name, _purpose(command, key, name)) for name in catalog.options(key, command.folders))
    simple: dict[tuple[str, ...], Callable[[], Iterable[str]]] = {
        ("arch", "arch.name", "arch.encoder"): lambda: _networks(item),
        ("task", *_OF_TASKS): lambda: _tasks(command.data_dir),
        ("proj",): lambda: _projects(command.out_dir),
        _OF_RUNS: lambda: ["latest", *_runs(command.project)],
        _OF_STUDIES: lambda: [file.stem for file in _entries(command.project / "studies", ".log")],
        ("mode.subroutines",): lambda: rules.SUBROUTINES.get(command.mode, ()),
        ("mode.ensemble",): lambda: ["latest"],
    }
    for those, values in simple.items():
        if key in those:
            yield from map(Candidate, values())
    if key in _OF_TASKS:
        yield from map(Candidate, ("digits", "fashion_mini"))
    if key in _OF_PROJECTS:
        yield from (text for name in _projects(command.out_dir) for text in (Candidate(name), Candidate(f"{name}#")))
    yield from map(Candidate, _enumerated_values(command, key))


def _enumerated_values(command: _Said, key: str) -> list[str]:
    """Return the values of a key that has few: those listed in its annotation, true and false."""
    known_key = _find(command, key)
    if known_key is None:
        return []
    option = next(
        (option_name for option_name in command.options(known_key.group) if option_name in known_key.options), ""
    )
    values: list[str] = []
    for part in known_key.values(option).split(" or "):
        if part in ("true", "false", "null", "auto"):
            values.append(part)
        elif part.startswith("one of "):
            values += [choice for choice in part.removeprefix("one of ").split(", ") if " " not in choice]
    # A key that may be None or any other value has no values to choose from.
    return values if values != ["null"] else []


def _find(command: _Said, key: str) -> Key | None:
    """Return the key of that name; for a section, only its own files are read."""
    head, dot, _ = key.partition(".")
    group = "hydra/launcher" if head == "hydra" else head
    if not dot or group not in (*catalog.groups(command.folders), "hydra/launcher"):
        return keys.top_keys().get(key)
    return keys.of_group(group, command.folders).get(key) or keys.keys_without_file(group).get(key)


def _names_files(command: _Said, key: str) -> bool:
    if key in (*_OF_FOLDERS, "recipe", "reuse.parameters", "reuse.blueprint"):
        return True
    known_key = _find(command, key)
    if known_key is None or known_key.leaf in _NO_FILES:
        return False
    option = next(
        (option_name for option_name in command.options(known_key.group) if option_name in known_key.options), ""
    )
    return "text" in known_key.values(option) and bool(_OF_FILES.search(known_key.meaning(option)))


def _networks(item: str) -> Sequence[str]:
    """Return the names of timm's networks; after a dot, the tags of a network's weights."""
    network, dot, _ = item.partition(".")
    try:
        return [f"{network}.{tag}" for tag in names.timm_tags(network)] if dot else names.timm_names()
    except ConfigError:
        # timm is not installed.
        return ()


def _projects(out_dir: Path) -> list[str]:
    return [folder.name for folder in _entries(out_dir) if (folder / "runs").is_dir() or (folder / "tasks").is_dir()]


def _tasks(data_dir: Path) -> list[str]:
    return [folder.name for folder in _entries(data_dir) if (folder / "task.json").is_file()]


def _runs(project: Path) -> list[str]:
    """Return the runs of a project, newest first."""
    days = reversed(_entries(project / "runs"))
    run_names = (
        f"{day.name}/{folder.name}"
        for day in days
        for folder in reversed(_entries(day))
        if (folder / "plan.json").is_file()
    )
    return list(islice(run_names, _MOST_NAMES))


def _records(command: _Said, head: str, item: str) -> Iterator[Candidate]:
    """Return `PROJ#ID` for each record of a project."""
    name = item.partition("#")[0]
    project = current_folder.expanded(name) if "/" in name else command.out_dir / name
    for task in _entries(project / "tasks"):
        for record in _entries(task / "models"):
            if (record / "record.json").is_file():
                yield Candidate(f"{head}{name}#{record.name}")


def _entries(folder: Path, ending: str = "") -> list[Path]:
    """Return the sorted folders, or files with an ending, in a folder; none if unreadable. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            entry_names = [
                entry.name
                for entry in islice(entries, _MOST_ENTRIES)
                if (entry.name.endswith(ending) if ending else entry.is_dir(follow_symlinks=False))
            ]
    except OSError:
        return []
    # Shell patterns and home folders (`~`) cannot be typed literally.
    return [folder / name for name in sorted(entry_names) if name[:1] not in (".", "~") and not set(name) & set("[]")]


def _paths(head: str, typed: str, *, only_folders: bool = False) -> Iterator[Candidate]:
    """Return files and folders that begin with what was typed, folders with a trailing slash.

    Args:
        head: The part of the word before the path.
        typed: The path so far.
        only_folders: Leave out files.
    """
    folder, slash, start = typed.rpartition("/")
    try:
        with os.scandir(current_folder.expanded(folder + slash or ".")) as entries:
            children = sorted(
                (entry.name, entry.is_dir())
                for entry in islice(entries, _MOST_ENTRIES)
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            )
    except (OSError, ValueError):
        return
    for name, is_folder in children:
        if is_folder or not only_folders:
            yield Candidate(f"{head}{folder}{slash}{name}{'/' if is_folder else ''}")


def _purpose(command: _Said, group: str, option: str) -> str:
    """Return the purpose of an option; empty for options in a folder of the user's own."""
    is_ours = command.with_meanings and option in catalog.options(group)
    return _first_clause(catalog.purpose(group, option)) if is_ours else ""


def _key_meaning(command: _Said, key: Key, *options: str) -> str:
    """Return the meaning of a key: its first sentence."""
    if not command.with_meanings:
        return ""
    option = next((option_name for option_name in options if option_name in key.options), "")
    return _first_clause(key.summary(option))


def _first_clause(text: str) -> str:
    """Return the beginning of a sentence on one line, without the command that uses it."""
    words = re.split(r"; |: mml ", text, maxsplit=1)[0].rstrip(".;").split()
    text = "".join(letter for letter in " ".join(words) if letter.isprintable())
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3].rstrip()}..."
