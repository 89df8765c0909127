"""Parse the words of a command line: mode, options and overrides. Other spellings are interpreted or answered with a fix.

A correct line is parsed without lookups. A word that is not an override (`--epochs 5`, `task.root = DIR`, a bare path)
becomes one if it has only one possible meaning, and a note tells how the line was read.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlpipe import current_folder
from mlpipe.config.environment import base_folder
from mlpipe.config.overrides import quoted
from mlpipe.errors import ConfigError, listing, problem, typed
from mlpipe.modes import FLAGS, SCRIPTS, WITH_VALUE, WORDS

# Options of Hydra that this program does not have.
_HYDRA = (
    "--package", "--resolve", "--hydra-help", "--info", "--run", "--shell-completion", "-sc", "-r", "--experimental-rerun",
)  # fmt: skip

# Options of scripts that are strings even if they look like numbers.
_TEXTS = ("project", "name", "task", "cache", "inputFolder", "output", "onlyMetric", "sortBy")

# Modes in which a bare path is data of a task, or a project; and suffixes of file types.
_OF_TASKS = ("train", "tl", "create", "pp", "lr_find", "test")
_OF_PROJECTS = ("info", "post", "verify", "clean", "upgrade", "downgrade")
_TABLES, _ARRAYS = (".csv", ".tsv", ".parquet"), (".npz", ".npy")
_ARCHIVES, _RECIPES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"), (".yaml", ".yml", ".json")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
_PARTS = ("train", "val", "valid", "validation", "test", "unlabelled")
_FEW = 200
_UNIT = r"s(ec(onds?)?)?|m(in(ute)?s?)?|h(ours?|rs?)?"


@dataclass
class Call:
    """The parsed command line.

    Attributes:
        mode: The first word.
        overrides: Overrides in Hydra's grammar; with `--help`, the words as they were typed.
        flags: Names of options without a value.
        cfg: The value of `--cfg`.
        config_dirs: Additional folders of configuration files.
        started: Start of the command, in the clock of `time.monotonic`.
        notes: How words that are not overrides were interpreted.
        app: The value of `--app`, which the loss of a configuration must agree with; empty: not given.
    """

    mode: str = ""
    overrides: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    cfg: str = ""
    config_dirs: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    app: str = ""


def parse(arguments: Sequence[str]) -> Call:
    """Parse a command line.

    Args:
        arguments: The words after the program's name.

    Raises:
        ConfigError: With a sentence for every word without a possible meaning.
    """
    call, problems, rest = Call(), list[str](), list(map(_plain_word, arguments))
    asks, is_odd = bool({"-h", "--help"} & {*rest}), False
    while rest:
        text = rest.pop(0)
        name, equals, value = text.partition("=")
        if text in FLAGS:
            call.flags.add(FLAGS[text])
        elif (fix := _value_hint(call, name)) and not _has_value(
            call, name, argument := _value(call, equals, value, rest)
        ):
            problems.append(problem(name, "needs a value", fix=fix))
        elif name in ("--cfg", "-c"):
            call.cfg = argument or ""
        elif name in ("--config-dir", "-cd"):
            call.config_dirs.append(Path(argument or "").absolute())
        elif call.mode == "train" and name == "--config":
            # Options of another program: --config=FILE, --config FILE, --config= FILE.
            call.overrides.append(f"recipe={quoted(argument or '')}")
        elif call.mode == "train" and name == "--app":
            # The loss in that program's configuration determines the application.
            if argument not in ("pde", "gan", "obj"):
                fix = (
                    "there are --app=pde for Burgers_pde, Poisson2D_pde and Poisson3D_pde, --app=obj for YOLOv3 and "
                    "--app=gan for Wasserstein; other trainings need none"
                )
                problems.append(problem("--app", f"{argument} is not available in this version", fix=fix))
            call.app = argument or ""
        elif fix:
            call.overrides.append(_script_option(name, argument or ""))
        elif text.startswith("-") and not text[1:].replace(".", "").isdigit() and not asks:
            is_odd = True
            wrong = _unknown_option(text)
            problems += [wrong] if wrong else []
            call.overrides += [] if wrong else [_as_override(text, call, rest)]
        elif call.mode == "info" and text == "plugins":
            call.overrides.append("mode.subroutines=[plugins]")
        elif not call.mode and "=" not in text:
            call.mode = text
        else:
            call.overrides.append(text)
    problems += [
        problem("--config-dir", "there is no such folder", got=str(path), fix="name an existing folder")
        for path in call.config_dirs
        if not path.is_dir()
    ]
    if call.cfg not in ("", "job"):
        problems.append(problem("--cfg", "shows the configuration of the job", got=call.cfg, fix="write --cfg job"))
    if not asks and call.mode not in SCRIPTS and (is_odd or any(map(_is_ambiguous, call.overrides))):
        problems += _read(call, is_other=is_odd)
    if problems:
        raise ConfigError(problems)
    return call


def check_mode(call: Call) -> None:
    """Require that the first word is a mode.

    Raises:
        ConfigError: When it is not, with the intended command if that is known.
    """
    from mlpipe.config import catalog, suggestions

    if call.mode in catalog.options("mode", tuple(call.config_dirs)):
        return
    rest = typed(call.overrides)
    modes = [text.partition("=")[2] for text in call.overrides if text.startswith("mode=")]
    if not call.mode and modes:
        raise ConfigError(problem("mode", "is the first word of the command", fix=f"write mml {modes[0]} ..."))
    if not call.mode and call.overrides in (["v=true"], ["V=true"]):
        raise ConfigError(problem(f"-{call.overrides[0][0]}", "unknown option", fix="write mml --version"))
    if not call.mode and call.overrides:
        from mlpipe.config.compose import unknown_keys

        wrong, fix = "the first word is the mode", f"write mml train {rest}, or another mode: see mml --help"
        unknown = unknown_keys("train", call.overrides, tuple(call.config_dirs))
        raise ConfigError([problem("mode", wrong, fix=fix), *unknown])
    if "/" in call.mode or (call.mode and Path(call.mode).exists()):
        fix = f"write mml train {typed([call.mode, *call.overrides])}, or mml predict {shlex.quote(call.mode)}"
        raise ConfigError(problem("mode", "the first word is the mode", got=call.mode, fix=fix))
    if suggestion := suggestions.for_mode(call.mode):
        raise ConfigError(problem("mode", "unknown mode", got=call.mode, fix=f"write {suggestion} {rest}".rstrip()))
    catalog.check_mode(call.mode, tuple(call.config_dirs), also=WORDS)


def _plain_word(text: str) -> str:
    """Undo the typographic dashes and quotes of a word processor."""
    dashes, quotes = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "\u201c\u201d\u201e"
    if text and text[0] in dashes:
        text = "--" + text.lstrip(f"{dashes}-")
    # An apostrophe may be part of a name, a pair around a value is not.
    text = re.sub(r"=[\u2018\u201a](.*)[\u2018\u2019]$", r"='\1'", text)
    return text.translate(dict.fromkeys(map(ord, quotes), '"')) if set(quotes) & set(text) else text


def _value_hint(call: Call, name: str) -> str:
    """Return the syntax of an option that needs a value; empty for other options."""
    fixes = {"--cfg": "write --cfg job", "-c": "write --cfg job"}
    fixes |= dict.fromkeys(("--config-dir", "-cd"), "write --config-dir DIR")
    if call.mode == "train":
        fixes |= {"--config": "write --config=FILE", "--app": "write --app=pde or --app=gan"}
    if name not in fixes and call.mode in SCRIPTS and name.startswith("--") and len(name) > 2:
        return f"write {name} VALUE"
    return fixes.get(name, "")


def _value(call: Call, equals: str, value: str, rest: list[str]) -> str | None:
    """Return the value after an option's `=`, or else consume the next word; None if another option follows."""
    if value or not rest or rest[0].startswith("--") or (equals and call.mode in SCRIPTS):
        return value if equals else None
    return rest.pop(0)


def _has_value(call: Call, name: str, value: str | None) -> bool:
    """Return whether an option has its value; for script options it may be an empty string."""
    return value is not None if call.mode in SCRIPTS and name not in WITH_VALUE else bool(value)


def _script_option(name: str, value: str) -> str:
    """Return an option of a script, such as `--name "one, two"`, as a key of the mode."""
    lower = value.lower()
    if name[2:] not in _TEXTS and (lower in ("true", "false", "null") or value.isdigit()):
        return f"mode.{name[2:]}={lower}"
    return f"mode.{name[2:]}={quoted(value)}"


def _path(value: str) -> str:
    return value if re.fullmatch(r"[\w./~+@%-]+", value) else quoted(value)


def _unknown_option(text: str) -> str:
    """Return the error message for a misspelt option or an option of Hydra's; empty for other words."""
    from mlpipe.config.near_values import nearest, squashed

    name = text.partition("=")[0]
    known = [*FLAGS, *WITH_VALUE]
    same = {squashed(option): option for option in known if option.startswith("--")}
    if suggestion := same.get(squashed(name)):
        return problem(name, "unknown option", fix=f"did you mean {suggestion!r}?")
    if name in _HYDRA:
        return problem(name, "unknown option", fix="leave it out; --cfg job shows the configuration, see mml --help")
    from mlpipe.config.suggestions import is_word

    may_be_near = len(name) > 4 and name != "--config" and not is_word(name.lstrip("-"))
    near = nearest(name, [option for option in known if len(option) > 4], 0.75) if may_be_near else ""
    return problem(name, "unknown option", fix=f"did you mean {near!r}?") if near else ""


def _as_override(text: str, call: Call, rest: list[str]) -> str:
    """Return `--key value`, `--key=value`, `--flag` or `--no-flag` as an override."""
    name, equals, value = text.lstrip("-").partition("=")
    key = name.replace("-", "_")
    if not equals and key.startswith("no_") and not _is_value(call, rest):
        return f"{key[3:]}=false"
    if key == "continue" and not equals and not _is_value(call, rest):
        return "continue=latest"
    if not value and _is_value(call, rest):
        value = rest.pop(0)
        value = rest.pop(0) if value == "=" and rest else value.removeprefix("=")
    return f"{key}={value}" if value or equals else f"{key}=true"


def _is_value(call: Call, rest: Sequence[str]) -> bool:
    """Return whether the next word is an option's value: not an override, an option or the mode."""
    if (
        not rest
        or rest[1:2] == ["="]
        or re.match(r"[A-Za-z_][\w.@/-]*=.", rest[0])
        or re.match(r"--?[A-Za-z]", rest[0])
    ):
        return False
    from mlpipe.config import catalog

    return bool(call.mode) or rest[0] not in catalog.options("mode")


def _is_ambiguous(text: str) -> bool:
    """Return whether a word may be something other than a single override."""
    key, equals, _ = text.partition("=")
    is_whole = bool(equals) and bool(key.strip("+~ ")) and ":" not in key and " " not in key and text[-1] != "="
    return not text.startswith("~") and (not is_whole or re.search(r"\s[\w.+~]+=", text) is not None)


def _read(call: Call, *, is_other: bool) -> list[str]:
    """Convert words to the intended overrides; return an error message for each ambiguous or unknown one."""
    known = _Known(call)
    words = known.separated(call.overrides)
    if not call.mode and words and known.is_mode(words[0]):
        call.mode = words.pop(0)
    problems, read = list[str](), list[str]()
    words = known.joined(words)
    for number, text in enumerate(words):
        key, equals, _ = text.partition("=")
        if (equals and key) or text[:1] in "~+":
            read.append(text)
            continue
        overrides, wrong = known.alone(text, [*words[:number], *words[number + 1 :]])
        read += overrides
        problems += [wrong] if wrong else []
    is_other = is_other or read != call.overrides
    call.overrides[:] = read
    if not problems and call.mode and is_other:
        call.notes.append(f"read as: mml {typed([call.mode, *read])}")
    return problems


class _Known:
    """The possible meanings of words: keys, options, paths, tasks and projects."""

    def __init__(self, call: Call) -> None:
        from mlpipe.config import catalog, keys, near_values, suggestions

        self._mode, self._folders = call.mode, tuple(call.config_dirs)
        self._suggestions, self._keys = suggestions, keys
        self._squashed, self._nearest = near_values.squashed, near_values.nearest
        self._groups = [*catalog.groups(self._folders), *catalog.ALIASES]
        self._options = {group: catalog.options(group, self._folders) for group in catalog.groups(self._folders)}
        self._top = {name.partition(".")[0] for name in keys.top_keys()} | {*keys.WORDS, "hydra"}

    def is_mode(self, text: str) -> bool:
        """Return whether a word is a mode."""
        return text in self._options["mode"]

    def is_key(self, text: str) -> bool:
        """Return whether a word is a key, a group, or another program's name for one."""
        head = text.lstrip("+").partition(".")[0]
        return bool(re.fullmatch(r"\+*[A-Za-z_][\w.-]*", text)) and (
            head in self._groups
            or text in self._top
            or ("." in text and (head in self._top or head in self._groups))
            or self._suggestions.is_word(text)
        )

    def is_value(self, key: str, text: str) -> bool:
        """Return whether a word after a key may be its value: it is not itself a key, or is an option of the group."""
        return not self.is_key(text) or text in self._options.get(key, ())

    def separated(self, words: Sequence[str]) -> list[str]:
        """Split words that were joined by a pair of quotes."""
        result = []
        for text in words:
            # Quotes around `key = value`.
            text = re.sub(r"^\s*([+~]*[A-Za-z_][\w.]*)\s+=\s*", r"\1=", text)
            if (pair := re.match(r"([A-Za-z_][\w.]*):\s+(?=\S)", text)) and self.is_key(pair[1]):
                text = f"{pair[1]}={text[pair.end() :]}"
            parts = [part for part in re.split(r"[\s;]+|,\s*(?=[\w.]+=)", text) if part]
            overrides = [part for part in parts if re.match(r"[+~]*[A-Za-z_][\w.]*=", part)]
            is_many = len(parts) > 1 and not set(text) & set("'\"[{(")
            first = 1 if parts and self.is_mode(parts[0]) else 0
            if (
                is_many
                and len(overrides) == len(parts) - first
                and all(self.is_key(override.partition("=")[0]) for override in overrides)
            ):
                result += parts
            else:
                result.append(text)
        return result

    def joined(self, words: Sequence[str]) -> list[str]:
        """Join overrides that were split at blanks: `key = value`, `key value`, `key: value`."""
        result, rest = list[str](), list(words)
        while rest:
            text = rest.pop(0)
            is_bare = "=" not in text
            follows = rest[0] if rest else ""
            if is_bare and follows in ("=", "==", ":", ":=") and len(rest) > 1:
                rest.pop(0)
                text = f"{text}={rest.pop(0)}"
            elif is_bare and len(follows) > 1 and follows.startswith("="):
                text = f"{text}={rest.pop(0).lstrip('=')}"
            elif re.fullmatch(r"time_limit=[\d.]+", text) and re.fullmatch(_UNIT, follows):
                text += rest.pop(0)[0]
            elif text.endswith("=") and len(text) > 1 and follows and "=" not in follows:
                text += rest.pop(0)
            elif is_bare and text.endswith(":") and self.is_key(text[:-1]) and follows and "=" not in follows:
                text = f"{text[:-1]}={rest.pop(0)}"
            elif is_bare and (pair := re.fullmatch(r"([A-Za-z_][\w.]+):(?!//)(\S+)", text)) and self.is_key(pair[1]):
                text = f"{pair[1]}={pair[2]}"
            elif is_bare and self.is_key(text) and follows and "=" not in follows and self.is_value(text, follows):
                text = f"{text}={rest.pop(0)}"
            result.append(text)
        return result

    def alone(self, text: str, others: Sequence[str]) -> tuple[list[str], str]:
        """Return the overrides that a word without a value stands for, and an error message if it is ambiguous."""
        path = current_folder.expanded(text)
        try:
            exists = path.exists() and text not in ("", ".", "..", "/")
        except (OSError, ValueError):
            exists = False
        if exists:
            return self._overrides_of_path(text, path, others)
        if "/" in text or path.suffix.lower() in (*_TABLES, *_ARRAYS, *_ARCHIVES, *_RECIPES, *_WEIGHTS, *_IMAGES):
            siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            key = self._key_of_path(path)
            near = self._nearest(path.name, siblings, 0.6)
            right = _path(str(path.parent / near)) if near else "PATH"
            fix = f"did you mean {near!r}?" if near else ""
            fix = f"{fix} write {key}={right}".strip() if key else fix
            return [], problem(text, "there is no such file or folder", fix=fix)
        fix = self._fix_of_word(text)
        if (match := re.fullmatch(r"write (\w+)=(\S+)", fix)) and match[2] == text:
            override = next((word for word in others if word.startswith(f"{match[1]}=")), "")
            fix = f"write {override},{text} -m to run each of them" if override else fix
        return [], problem(text, "is not an override", fix=fix)

    def _key_of_path(self, path: Path) -> str:
        """Return the words before a path, the last of which is a key."""
        suffix = path.suffix.lower()
        if self._mode == "predict" and suffix not in (*_RECIPES, *_WEIGHTS):
            return "mode.source"
        if self._mode == "convert" or (self._mode in _OF_TASKS and suffix in _RECIPES):
            return "recipe"
        if self._mode == "upgrade":
            return "mode.source"
        if self._mode not in _OF_TASKS:
            return ""
        by_suffix = {_TABLES: "task=csv task.file", _ARRAYS: "task=arrays task.file", _WEIGHTS: "arch.weights"}
        return next((key for endings, key in by_suffix.items() if suffix in endings), "task=folder task.root")

    def _overrides_of_path(self, text: str, path: Path, others: Sequence[str]) -> tuple[list[str], str]:
        """Return the overrides for a path of data, a project, weights or a recipe."""
        key = self._key_of_path(path)
        *words, last = key.split(" ")
        task = next((other.partition("=")[2] for other in others if other.startswith("task=")), None)
        line = typed([*words, f"{last}={_path(text)}"])
        if not key and self._mode in _OF_PROJECTS and path.is_dir():
            return [], problem(text, "is not an override", fix=f"write mml {self._mode} proj={path.name}")
        if not key or key == "arch.weights":
            fix = f"write {line}" if key else f"write key={_path(text)}, see mml {self._mode} --help"
            return [], problem(text, "is not an override", fix=fix)
        if not last.startswith("task.") or (
            task == words[0].partition("=")[2] and not any(other.startswith(f"{last}=") for other in others)
        ):
            return [f"{last}={_path(text)}"], ""
        if task is not None:
            return [], problem(text, f"task={task} says which images already", fix=f"leave it out, or write {line}")
        if wrong := _no_classes(text, path):
            return [], wrong
        return [*words, f"{last}={_path(text)}"], ""

    def _fix_of_word(self, text: str) -> str:
        """Return what to write in place of a word that is not a path."""
        plain = self._squashed(text)
        if flag := {self._squashed(option): option for option in FLAGS if option.startswith("--")}.get(plain):
            return f"write {flag}"
        if text in self._top or ("." in text and self._keys.find(text)):
            return f"write {text}={self._usual_change(text)}"
        if plain in ("dry", "multi"):
            return "write --dry-run" if plain == "dry" else "write -m"
        if self.is_mode(text) and self._mode in ("train", "predict", "test") and text in ("train", "predict", "test"):
            return f"write mode.subroutines=[{self._mode},{text}]"
        if any(task.name == text or task.name.startswith(f"{text}-") for task in self._tasks()):
            return f"write task={text}"
        if self._mode == "verify":
            return f"write mode.run={text}"
        if text in self._options:
            return f"write {text}=OPTION, one of {listing(self._options[text], most=8)}"
        if self._mode in ("predict", "test", *_OF_PROJECTS) and (self._out_dir() / text).is_dir():
            return f"write proj={text}"
        projects = [project.name for project in self._out_dir().glob("*")] if self._mode in _OF_PROJECTS else []
        if near := self._nearest(text, projects, 0.6):
            return f"did you mean proj={near}?"
        if self._mode in self._options["mode"] and self._is_of_mode(text):
            return f"write mode.{text}={self._usual_change(f'mode.{text}')}"
        if suggestion := self._suggestions.for_word(text, self._mode):
            return suggestion
        groups = [group for group, options in self._options.items() if text in options and group != "mode"]
        groups.sort(key=lambda group: group not in ("task", "arch", "loss", "optimizer"))
        if groups:
            return f"write {' or '.join(f'{group}={text}' for group in groups[:3])}"
        from mlpipe.arch import names

        if text in names.timm_names():
            return f"write arch={text}"
        for group in ("task", "arch", "loss", "optimizer", "lr_scheduler", "augmentations", "preset", "callbacks"):
            if replacement := self._suggestions.option_meant(group, text, self._options[group]):
                return (
                    replacement
                    if replacement.startswith("leave it out")
                    else f"write {replacement if '=' in replacement else f'{group}={replacement}'}"
                )
        if self.is_mode(text):
            return f"one mode at a time: write mml {text} in a command of its own"
        return "write key=value"

    def _usual_change(self, name: str) -> str:
        """Return the most likely value for a key without one."""
        key = self._keys.find(name)
        defaults = {setting.default for setting in key.settings} if key else set()
        return "true" if defaults == {"false"} else "VALUE"

    def _is_of_mode(self, text: str) -> bool:
        key = self._keys.find(f"mode.{text}")
        return key is not None and self._mode in key.options

    def _tasks(self) -> list[Path]:
        data_dir = current_folder.expanded(base_folder("data_dir", None))
        return [file.parent for file in data_dir.glob("*/task.json")]

    def _out_dir(self) -> Path:
        return current_folder.expanded(base_folder("out_dir", None))


def _no_classes(text: str, path: Path) -> str:
    """Return the error message for a folder without class folders; empty for files and folders that have some."""
    if not path.is_dir():
        return ""
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    parts = [folder for folder in folders if folder.name.lower() in _PARTS]
    inner = [two for folder in parts for two in folder.iterdir() if two.is_dir()]
    names = {folder.name.lower() for folder in folders}
    if any(file.suffix.lower() in (".txt", ".xml") for part in folders for file in _labels_in(part)):
        return problem(text, "is not an override", fix=f"for boxes write task=boxes task.root={_path(text)}")
    if names & {"masks", "mask", "labels"} and names & {"images", "image", "imgs"}:
        return problem(text, "is not an override", fix=f"for masks write task=masks task.root={_path(text)}")
    classes = [folder for folder in [*folders, *inner] if folder not in parts and _has_images(folder)]
    tables = [file for file in path.iterdir() if file.suffix.lower() in _TABLES]
    if len(tables) == 1 and len(classes) < 2:
        fix = f"write task=csv task.file={_path(str(Path(text) / tables[0].name))}"
        return problem(text, "has a table, and no folders of classes", fix=fix)
    if classes:
        return ""
    if _has_images(path):
        fix = (
            f"put those of each class into a folder of its own, or predict them: mml predict mode.source={_path(text)}"
        )
        return problem(text, "holds images, but no folders of classes", fix=fix)
    clause = f"; it has {listing(sorted(names), most=4)}" if names else ""
    fix = f"name a folder with one folder of images for each class: task=folder task.root=DIR{clause}"
    return problem(text, "has no folders of classes", fix=fix)


def _labels_in(folder: Path) -> list[Path]:
    """Return the first files in a folder named `labels` or `annotations`, and in its subfolders."""
    if folder.name.lower() not in ("labels", "annotations"):
        return []
    inner = [entry for entry in folder.iterdir() if entry.is_dir()]
    return [file for place in (folder, *inner) for _, file in zip(range(_FEW), place.iterdir(), strict=False)]


def _has_images(folder: Path) -> bool:
    try:
        entries = [entry for _, entry in zip(range(_FEW), folder.iterdir(), strict=False)]
    except OSError:
        return False
    return any(entry.suffix.lower() in _IMAGES for entry in entries)
