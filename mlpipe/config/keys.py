"""Every key of the configuration: meaning, default in each option, allowed values; imports neither torch nor Hydra.

Keys, defaults and their order are read from the lines of the files in `conf/`. A key's meaning is the comment right
above it there; without a comment, it is the key's line under `Args:` (or `Attributes:`) in the docstring of the
option's `_target_`, or of the section's class in `mlpipe.config.schema`. Do not repeat a docstring in a comment: write
one in the file only if the docstring is missing, or is meant for programmers. The comment at the top of a file is its
option's purpose; an empty line ends it if a key's comment follows.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlpipe.config import catalog, rules, signatures
from mlpipe.errors import listing

NEEDED = "???"
_TRAINER = "pytorch_lightning.trainer.trainer.Trainer"
_SCHEMA = "mlpipe.config.schema"
# Sections, or some of their keys, defined by classes of the schema instead of, or in addition to, a component.
_SCHEMAS = {
    "metrics": ("Metrics",), "sys": ("Sys",), "hpo": ("Hpo",), "reuse": ("Reuse",), "remove": ("Remove",),
    "healing": ("Healing",), "optimizer": ("Clip", "LayerRates"), "augmentations": ("Augmentations",),
}  # fmt: skip
# Mappings whose keys are names chosen by the user.
_OF_OWN_NAMES = ("given", "preset.recipes", "preset.pretrained", "preset.sizes", "search_space.params")
# Keys filled in by the program, or selecting code: not for users.
_NO_KEYS = ("_target_", "scheduler", "defaults", "trust")
# Option files that are not a group of the catalogue, by the group's name in an override.
LAUNCHER = "hydra/launcher"
# Words written like keys that are handled before a configuration is made.
WORDS = {
    "recipe": "A file with overrides of this command: a native YAML file, or one of another program (docs/from_*.md).",
    "continue": "Go on with a run that was stopped: latest, or the name of a run or the end of it.",
    "use_best_params": "Take the best values of a study (hpo.study), or those of its trial N: STUDY, or STUDY#N.",
}
# Meanings of keys without a comment, for which another package's docstring says more than applies here.
_MEANINGS = {
    "trainer.max_steps": "The most optimizer steps of a training, or of each stage; trainer.max_epochs may end it before.",
}
# Allowed values that are checked in code, without an annotation.
_VALUES = {
    "seed": "a whole number from 0 to 4294967295",
    "proj": "a plain folder name",
    "task_list": "a list of names of tasks",
    "time_limit": "a time such as 90s, 30m or 1h30m, or null",
    "trainer.max_epochs": "a whole number >= 1",
    "trainer.max_steps": "a whole number >= 1",
    "trainer.devices": "a whole number >= 1 or auto",
    "trainer.accumulate_grad_batches": "a whole number >= 1",
    "trainer.gradient_clip_val": "a number >= 0 or null",
    "trainer.gradient_clip_algorithm": "one of norm, value",
}
_KEY = re.compile(r"( *)([A-Za-z_][\w.]*):(?:\s+(.*))?$")
_REFERENCE = re.compile(r"\$\{([a-z_]\w*(?:\.\w+)*)\}")
_DOCUMENTED = re.compile(r"(\w+)(?: \([^)]*\))?:\s*(.*)", re.DOTALL)
_ELSEWHERE = re.compile(r"As for (\w+)[,;]?(.*)", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclass(frozen=True)
class Setting:
    """What one option says about a key.

    Attributes:
        option: The option; empty for the keys of `conf/config.yaml`.
        default: The value as written in its file: `0.05`, `null`, `${recommend.lr}`, `???` if it is required; empty for
            a parameter of `_target_` that the file does not contain.
        comment: The comment above it in the file; empty if there is none.
        target: The dotted name of the component that receives the value; empty if there is none.
    """

    option: str
    default: str
    comment: str
    target: str


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    Attributes:
        name: The full name, as in an override: `optimizer.lr`.
        group: The group whose options have it: `optimizer`, `mode`, `hydra/launcher`; empty for keys of
            `conf/config.yaml` itself, including `recommend.`.
        settings: The setting of each option that has it, the group's default option first.
    """

    name: str
    group: str
    settings: tuple[Setting, ...]

    @property
    def leaf(self) -> str:
        """The last word of its name."""
        return self.name.rpartition(".")[2]

    @property
    def options(self) -> tuple[str, ...]:
        """The options that have it; empty for a key of no group."""
        return tuple(setting.option for setting in self.settings if setting.option)

    def setting(self, option: str = "") -> Setting:
        """Return its setting in an option; by default in the group's default option, or the first one.

        Raises:
            KeyError: When the option does not have it.
        """
        if not option:
            return self.settings[0]
        match = next((setting for setting in self.settings if setting.option == option), None)
        if match is None:
            raise KeyError(f"{self.name} of {self.group}={option}")
        return match

    def default(self, option: str = "") -> str:
        """Return its default as written in the option's file, see `Setting.default`."""
        return self.setting(option).default

    def meaning(self, option: str = "") -> str:
        """Return its meaning, one or more sentences: the comment in the option's file, else the docstring's line."""
        setting = self.setting(option)
        text = setting.comment or _documented_meaning(self, setting) or _comment_of_others(self, setting)
        # A docstring may refer to that of another option.
        if (match := _ELSEWHERE.match(text)) and match[1] in self.options and match[1] != setting.option:
            meaning = self.meaning(match[1])
            return f"{meaning.rstrip('.')} ({match[2].strip(' .')})." if match[2].strip(" .") else meaning
        return text

    def summary(self, option: str = "") -> str:
        """The first sentence of its meaning."""
        return _SENTENCE.split(self.meaning(option), maxsplit=1)[0]

    def values(self, option: str = "") -> str:
        """Describe its allowed values: `a number > 0`, `one of val, test`; empty if unknown."""
        if self.name in _VALUES:
            return _VALUES[self.name]
        if self.name == "sys.console":
            return f"one of {listing(catalog.options('console'))}"
        for target in _targets(self, self.setting(option)):
            signature = signatures.read(target)
            parameter = signature.parameters.get(self.leaf) if signature else None
            if signature and parameter and parameter.annotation is not None:
                return signatures.mismatch(parameter.annotation, object(), signature.module)
        return ""


@functools.cache
def all_keys() -> dict[str, Key]:
    """Return every key in a file of `conf/` by full name: those of no group first, then group by group.

    `recipe`, `continue` and `use_best_params`, which are in no file, count as keys of no group.
    """
    keys = {**top_keys(), **_words()}
    for group in (*catalog.groups(), LAUNCHER):
        for name, key in of_group(group).items():
            if name in keys:
                # A task's file sets keys of conf/config.yaml.
                key = Key(name, keys[name].group, (*keys[name].settings, *key.settings))
            keys[name] = key
    return keys


def find(name: str) -> Key | None:
    """Return the key with a full name (`cbs.` is short for `callbacks.`), also if only a signature has it.

    Args:
        name: The name, such as `trainer.benchmark`.
    """
    head, dot, rest = name.partition(".")
    name = f"{catalog.ALIASES.get(head, head)}{dot}{rest}"
    return all_keys().get(name) or (keys_without_file(head).get(name) if head in catalog.groups() else None)


def _words() -> dict[str, Key]:
    return {name: Key(name, "", (Setting("", "", meaning, ""),)) for name, meaning in WORDS.items()}


@functools.cache
def top_keys() -> dict[str, Key]:
    """Return the keys of `conf/config.yaml` that belong to no group."""
    lines = _settings((catalog.conf_dir() / "config.yaml").read_text("utf-8"), "", "")
    return {name: Key(name, "", (setting,)) for name, setting in lines.items()}


@functools.cache
def of_group(group: str, extra: tuple[Path, ...] = ()) -> dict[str, Key]:
    """Return the keys of a group's options by full name, those of its default option first.

    Args:
        group: The group, `hydra/launcher` included.
        extra: Further folders of configuration files.
    """
    setting_lists: dict[str, list[Setting]] = {}
    for option in options(group, extra):
        for name, setting in _option_settings(group, option, extra).items():
            setting_lists.setdefault(name, []).append(setting)
    return {name: Key(name, group, tuple(settings)) for name, settings in setting_lists.items()}


def options(group: str, extra: tuple[Path, ...] = ()) -> list[str]:
    """Return the options of a group: its default in `conf/config.yaml` first, then in alphabetical order."""
    default = defaults().get(group, "")
    return sorted(catalog.options(group, extra), key=lambda option: (option != default, option))


@functools.cache
def defaults() -> dict[str, str]:
    """Return the default option of each group in `conf/config.yaml`."""
    text = (catalog.conf_dir() / "config.yaml").read_text("utf-8")
    return dict(re.findall(r"^ +- (\w+): (\w+)$", text, re.MULTILINE))


def of_option(group: str, option: str, extra: tuple[Path, ...] = ()) -> dict[str, Key]:
    """Return the keys of one option by full name, in the order of its file."""
    own = of_group(group, extra)
    return {name: own[name] for name in _option_settings(group, option, extra)}


def option_text(group: str, option: str, extra: tuple[Path, ...] = ()) -> str:
    """Return the text of an option's file, comments included, from the last folder that has it."""
    for root in (*reversed(extra), catalog.conf_dir()):
        if (file := root / group / f"{option}.yaml").is_file():
            return file.read_text("utf-8")
    return ""


@functools.cache
def keys_without_file(group: str) -> dict[str, Key]:
    """Return the keys of a group that are in no file but parameters of a `_target_`, such as `trainer.benchmark`."""
    listed, setting_lists = of_group(group), dict[str, list[Setting]]()
    targets = {option: _target_of(group, option) for option in catalog.options(group)}
    for option, target in ({"default": _TRAINER} if group == "trainer" else targets).items():
        signature = signatures.read(target) if target and group != "mode" else None
        for name in signature.parameters if signature else ():
            is_own = name in _NO_KEYS or (group == "trainer" and name in rules.SET_BY_MLPIPE)
            if not is_own and f"{group}.{name}" not in listed:
                setting_lists.setdefault(f"{group}.{name}", []).append(
                    Setting(option, "", _MEANINGS.get(f"{group}.{name}", ""), target)
                )
    return {name: Key(name, group, tuple(settings)) for name, settings in setting_lists.items()}


def references(name: str) -> list[str]:
    """Return the keys whose default refers to a key: `optimizer.lr`, for example, defaults to `recommend.lr`."""
    used = f"${{{name}}}"
    return [key.name for key in all_keys().values() if any(used in setting.default for setting in key.settings)]


def referenced_key(default: str) -> str:
    """Return the key whose value a default takes unchanged: `recommend.lr` for `${recommend.lr}`; else empty."""
    match = _REFERENCE.fullmatch(default)
    return match[1] if match else ""


def _option_settings(group: str, option: str, extra: tuple[Path, ...]) -> dict[str, Setting]:
    """Return the settings of one option by full name, including those of the options in its `defaults`."""
    text = option_text(group, option, extra)
    above = "" if "# @package _global_" in text else group.replace("/", ".")
    settings: dict[str, Setting] = {}
    for parent in _parents(text):
        if parent != option:
            settings |= {
                name: Setting(option, setting.default, setting.comment, setting.target)
                for name, setting in _option_settings(group, parent, extra).items()
            }
    target = _target(text) or next((setting.target for setting in settings.values() if setting.target), "")
    for name, setting in _settings(text, above, option).items():
        before = settings.get(name)
        comment = setting.comment or (before.comment if before else "")
        settings[name] = Setting(option, setting.default, comment, setting.target or target)
    for name, setting in settings.items():
        if not name.startswith(f"{group.replace('/', '.')}."):
            # A task's file also sets keys of conf/config.yaml: a comment there explains the value, not the key.
            settings[name] = Setting(option, setting.default, top_keys()[name].settings[0].comment, "")
        elif group == "mode":
            settings[name] = Setting(option, setting.default, setting.comment, target)
    return settings


def _parents(text: str) -> list[str]:
    """Return the options of the same group in a file's `defaults`."""
    block = re.search(r"^defaults:\n((?: +- .*\n)+)", text, re.MULTILINE)
    return [name for name in re.findall(r"^ +- (\w+)$", block[1], re.MULTILINE) if name != "_self_"] if block else []


def _target(text: str) -> str:
    """Return the component of a whole section: its own `_target_`, a mode's scheduler, or that of `task:`."""
    match = re.search(r"^(?:(?:scheduler|task):\n +)?_target_: *[\"']?([\w.]+)", text, re.MULTILINE)
    return match[1] if match else ""


def _target_of(group: str, option: str) -> str:
    text = option_text(group, option)
    return _target(text) or next((target for parent in _parents(text) if (target := _target_of(group, parent))), "")


def _settings(text: str, above: str, option: str) -> dict[str, Setting]:
    """Return the keys of a file, with the comment above each; lists and mappings with user-chosen keys are values."""
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    settings: dict[str, Setting] = {}
    _read(lines, start, 0, (above, option, _target(text), ""), settings)
    return settings


def _read(
    lines: list[str], place: int, indent: int, where: tuple[str, str, str, str], settings: dict[str, Setting]
) -> int:
    """Read the keys at one indentation from a line on; return the line at which they end."""
    above, option, target, inherited = where
    comment: list[str] = []
    while place < len(lines):
        line = lines[place]
        bare = line.strip()
        if bare and len(line) - len(line.lstrip()) < indent:
            return place
        place += 1
        if bare.startswith("#"):
            comment.append(bare.lstrip("# "))
            continue
        match = _KEY.match(line)
        if match is None:
            comment = []
            continue
        end = _end(lines, place, indent)
        name = f"{above}.{match[2]}" if above else match[2]
        inner = [text for text in lines[place:end] if text.strip() and not text.strip().startswith("#")]
        own = " ".join(comment) or inherited
        is_mapping = match[3] is None and bool(inner) and not inner[0].lstrip().startswith("- ")
        if match[2] in ("_target_", "scheduler", "defaults") or (match[2] == "trust" and above):
            pass
        elif is_mapping and name not in _OF_OWN_NAMES:
            depth = len(inner[0]) - len(inner[0].lstrip())
            targets = [text for text in inner if text.startswith(f"{' ' * depth}_target_:")]
            below = targets[0].partition(":")[2].strip() if targets else target
            keys = [text for text in inner if text[depth : depth + 1] != " "]
            _read(lines[:end], place, depth, (name, option, below, own if len(keys) == 1 else ""), settings)
        else:
            value = match[3] if match[3] is not None else _flow_text(inner)
            settings[name] = Setting(option, value, own, target)
        place, comment = end, []
    return place


def _end(lines: list[str], place: int, indent: int) -> int:
    """Return the line at which a key's value, written below it, ends."""
    last = place
    while place < len(lines):
        bare = lines[place].strip()
        if bare and not bare.startswith("#"):
            if len(lines[place]) - len(lines[place].lstrip()) <= indent:
                return last
            last = place + 1
        place += 1
    return last


def _flow_text(lines: list[str]) -> str:
    """Write a list or mapping of several lines on one line, with components by their bare names."""
    text = textwrap.dedent("\n".join(lines))
    items = re.split(r"^- ", text, flags=re.MULTILINE)
    if not items[0].strip():
        return f"[{', '.join(_item_text(item) for item in items[1:])}]"
    entries = re.split(r"\n(?=\S)", text)
    return f"{{{', '.join(' '.join(entry.split()) for entry in entries)}}}" if text else "null"


def _item_text(item: str) -> str:
    """Write one item of a list: a component as `name(key=value)`, other mappings and texts unchanged."""
    pairs = [line.strip().partition(": ") for line in item.strip().splitlines()]
    if not pairs[0][1]:
        return item.strip()
    if pairs[0][0] == "_target_":
        name = pairs[0][2].rpartition(".")[2]
        return f"{name}({', '.join(f'{key}={value}' for key, _, value in pairs[1:])})"
    return f"{{{', '.join(f'{key}: {value}' for key, _, value in pairs)}}}"


def _targets(key: Key, setting: Setting) -> list[str]:
    """Return the component or schema class that has a key as a parameter or field."""
    schemas = [f"{_SCHEMA}.{name}" for name in _SCHEMAS.get(key.name.partition(".")[0], ())]
    trainer = [_TRAINER] if key.group == "trainer" else []
    return [target for target in (setting.target, *schemas, *trainer) if target and target != NEEDED]


def _documented_meaning(key: Key, setting: Setting) -> str:
    texts = (_documentation(target).get(key.leaf, "") for target in _targets(key, setting))
    return next((text for text in texts if text), "")


def _comment_of_others(key: Key, setting: Setting) -> str:
    """Return another option's comment on a key of the same component or section, which applies here too."""
    return next((other.comment for other in key.settings if other.comment and other.target == setting.target), "")


@functools.cache
def _documentation(target: str) -> dict[str, str]:
    """Return the docstring texts of each parameter of a function or class, and of its base."""
    module, _, name = target.rpartition(".")
    head = _head(module, name)
    if head is None:
        defined = signatures.definition(target)
        if defined is None:
            return {}
        head, module = defined[0], defined[1].module
    base = head.bases[0] if isinstance(head, ast.ClassDef) and head.bases else None
    is_ours = target.startswith("mlpipe.") and isinstance(base, ast.Name)
    inherited = _documentation(f"{module}.{base.id}") if is_ours and isinstance(base, ast.Name) else {}
    return {**inherited, **dict(_arguments(head))}


def _head(module: str, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return a definition up to the end of its docstring, following re-exports; None if it has none.

    Parsing whole modules would take most of the response time.
    """
    text, word = _source(module), re.escape(name)
    origin = re.search(rf"^from (mlpipe[\w.]+) import (?:.*, )?(?:(\w+) as )?{word}(?:,|$)", text, re.MULTILINE)
    if origin:
        return _head(origin[1], origin[2] or name)
    match = re.search(rf"^(?:def|class) {word}\b(?:(?!^\S)[\s\S]|^\))*?\"\"\"[\s\S]*?\"\"\"", text, re.MULTILINE)
    try:
        node = ast.parse(match[0]).body[0] if match else None
    except SyntaxError:
        return None
    return node if isinstance(node, ast.FunctionDef | ast.ClassDef) else None


@functools.cache
def _source(module: str) -> str:
    file = signatures.module_file(module)
    return file.read_text("utf-8") if file else ""


def _arguments(node: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Return name and text of each entry under `Args:` or `Attributes:`, of a class and of its `__init__`."""
    inner = [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"]
    for definition in (node, *(inner if isinstance(node, ast.ClassDef) else ())):
        text = ast.get_docstring(definition) or ""
        for block in re.findall(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE):
            for entry in _entries(textwrap.dedent(block).splitlines()):
                if match := _DOCUMENTED.match(entry):
                    yield match[1], _plain(match[2])


def _entries(lines: Iterable[str]) -> Iterator[str]:
    """Return entries that begin at the margin, each with its indented lines."""
    entry: list[str] = []
    for line in lines:
        if line[:1].strip() and entry:
            yield " ".join(entry)
            entry = []
        entry.append(line.strip())
    yield " ".join(entry)


def _plain(text: str) -> str:
    """Convert a docstring's words to those of a configuration: null, true and false instead of Python's."""
    text = " ".join(text.replace("``", "").replace("`", "").split())
    for python, plain in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", plain, text)
    return text
