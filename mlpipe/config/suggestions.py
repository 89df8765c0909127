"""Suggest replacements for an unknown key, option or value: similar names, and words of other programs.

Suggestions are made only after an error, so that a correct command loads none of the tables.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlpipe.config import catalog, keys, synonyms
from mlpipe.config.near_values import nearest, squashed, sweep_advice, unique_completion, value_synonyms
from mlpipe.config.rules import SET_BY_MLPIPE
from mlpipe.config.synonyms import Entry
from mlpipe.errors import listing

_NEAR, _VERY_NEAR, _OF_SIBLINGS = 0.75, 0.82, 0.7
# Words for an option in the place of a key, as in optimizer.name=adam.
_NAMES = frozenset({"name", "type", "option", "method", "class", "choice", "kind", "target", "cls", "func", "fn"})
_ENDINGS = ("loss", "lr", "scheduler", "callback", "optimizer", "logger", "split", "splitter", "aug", "sampler")
# Groups that accept several options together.
_BLENDS = ("callbacks", "logging")
_NOT_TO_SET = frozenset(f"trainer.{name}" for name in SET_BY_MLPIPE)
_HASH = re.compile(r"-[0-9a-f]{8}$")
_WORD = re.compile(r"([\w./]+)=(.*)")


@dataclass(frozen=True)
class Here:
    """The configuration in which an unknown key was given.

    Attributes:
        mode: The mode's name.
        names: The full names of its keys.
        tasks: The names that `task=` takes.
        groups: The groups.
    """

    mode: str
    names: Sequence[str]
    tasks: Sequence[str] = ()
    groups: Collection[str] = ()


def for_key(name: str, value: str, context: Here) -> str:
    """Suggest a replacement for an unknown key; empty if nothing is similar.

    Args:
        name: The key as written.
        value: Its value as text.
        context: The configuration.
    """
    suggestion = _for_key(name, value, context)
    # A word for another mode's key is no suggestion if that key is what was written.
    return "" if suggestion == f"write {name}={value}" and name not in context.names else suggestion


def _for_key(name: str, value: str, context: Here) -> str:
    name = name if "/" not in name or name in context.groups else name.replace("/", ".")
    head, leaf = name.partition(".")[0], name.rpartition(".")[2]
    if name in context.names:
        return written(f"{name}={{}}", value, context)
    if same := {squashed(group): group for group in context.groups}.get(squashed(name)):
        return written(f"{same}={{}}", value, context)
    section = _section(head, context) if "." in name else ""
    whole = f"{section}.{leaf}" if section else name
    for full_name in (f"{context.mode}:{whole}", whole):
        if entry := _whole_key_entries().get(squashed_parts(full_name)):
            return written(entry, value, context)
    if section and (suggestion := _in_section(section, name, value, context)):
        return suggestion
    if suggestion := _by_leaf(leaf, value, context, section):
        return suggestion
    words = [*_leaves(context), *(word for word in synonyms.KEYS if ":" not in word)]
    # A key in an existing section was probably meant for that section.
    near = nearest(leaf, words, _VERY_NEAR if head in context.groups else _NEAR)
    if near and (suggestion := _by_leaf(near, value, context, section)):
        return suggestion
    if not section and (group := nearest(name, context.groups, _NEAR)):
        return f"did you mean {group!r}? {written(f'{group}={{}}', value, context)}"
    if "." not in name and (of := [group for group in catalog.groups() if name.lower() in catalog.options(group)]):
        return _as_fix(
            " or ".join(f"{group}={name.lower()}" for group in of[:3] if group != "mode") or f"mml {name.lower()}"
        )
    elsewhere = nearest(leaf, {key.leaf for key in keys.all_keys().values()}, _VERY_NEAR)
    return _fix_of_other_option(elsewhere, value, section) if elsewhere else ""


def squashed_parts(name: str) -> str:
    """Normalise each part of a key."""
    return ".".join(map(squashed, name.split(".")))


def _section(head: str, context: Here) -> str:
    """Return the section that a key's first word means."""
    if head in context.groups or any(name.startswith(f"{head}.") for name in context.names):
        return head
    section = _sections().get(squashed(head))
    return section or nearest(head, context.groups, 0.7) or head


def _in_section(section: str, name: str, value: str, context: Here) -> str:
    """Return a key of that section with the right or a similar last word; its option if the last word is `name`."""
    rest, leaf = name.partition(".")[2], name.rpartition(".")[2]
    if (right := f"{section}.{rest}") in context.names and right != name:
        return written(f"{right}={{}}", value, context)
    inside = {
        full_name.rpartition(".")[2]: full_name for full_name in context.names if full_name.startswith(f"{section}.")
    }
    by_squashed = {squashed(ending): full for ending, full in inside.items()}
    if match := by_squashed.get(squashed(leaf)):
        return written(f"{match}={{}}", value, context)
    siblings = [
        full_name.rpartition(".")[2]
        for full_name in context.names
        if full_name.rpartition(".")[0] == name.rpartition(".")[0]
    ]
    parent = name.rpartition(".")[0]
    if parent.count(".") and (near := nearest(leaf, siblings, _OF_SIBLINGS)):
        return f"did you mean {near!r}? {written(f'{parent}.{near}={{}}', value, context)}"
    if (near := nearest(leaf, inside, _VERY_NEAR)) and squashed(leaf) not in _entries():
        return f"did you mean {near!r}? {written(f'{inside[near]}={{}}', value, context)}"
    if leaf.lower() in _NAMES and section in context.groups and section != "mode":
        return written(f"{section}={{}}", value, context)
    elsewhere = keys.find(f"{section}.{leaf}")
    if (
        elsewhere
        and elsewhere.options
        and section != "mode"
        and f"{section}." not in (entry := str(_entries().get(squashed(leaf))))
        and not (section == "task" and entry != "None")
    ):
        return written(f"{section}={elsewhere.options[0]} {elsewhere.name}={{}}", value, context)
    return ""


def _by_leaf(leaf: str, value: str, context: Here, section: str) -> str:
    """Return a key by its last word: from the configuration, another program's words, or another option."""
    word = squashed(leaf)
    entry = _entries().get(word)
    of_mode = _entries().get(f"{context.mode}:{word}")
    exact = [key for key in context.names if squashed(key.rpartition(".")[2]) == word and key not in _NOT_TO_SET]
    own = [key for key in exact if key.startswith("mode.")]
    if own and word not in _preferred_words():
        return written(f"{own[0]}={{}}", value, context)
    if of_mode:
        return written(of_mode, value, context)
    if section and (inside := [key for key in exact if key.startswith(f"{section}.")]):
        return written(f"{inside[0]}={{}}", value, context)
    if len(exact) == 1 and word not in _preferred_words():
        return written(f"{exact[0]}={{}}", value, context)
    if entry:
        return written(entry, value, context)
    if exact:
        return f"write {' or '.join(_filled_template(f'{key}={{}}', value, ()) for key in exact[:4])}"
    if leaf in context.groups or leaf in catalog.ALIASES:
        return written(f"{leaf}={{}}", value, context)
    return _fix_of_other_option(leaf, value, section)


def _fix_of_other_option(leaf: str, value: str, section: str) -> str:
    """Suggest a fix for a key that only another option, or another mode, has."""
    matches = [key for key in keys.all_keys().values() if squashed(key.leaf) == squashed(leaf) and key.group]
    matches = [key for key in matches if key.group == section] or matches
    texts = []
    for key in matches[:3]:
        right = _filled_template(f"{key.name}={{}}", value, ())
        modes = " or ".join(f"mml {option}" for option in key.options[:3])
        alone = f" with {key.group}={key.options[0]}" if key.options else ""
        texts.append(f"{right}, a key of {modes}" if key.group == "mode" else f"{right}{alone}")
    return f"write {' or '.join(texts)}" if texts else ""


def for_option(group: str, word: str, options: Sequence[str], context: Here | None = None) -> str:
    """Suggest a replacement for an unknown option of a group; the list of all options if nothing is similar.

    Args:
        group: The group.
        word: The word as written.
        options: The group's options.
        context: The configuration; None: unknown.
    """
    if search := sweep_advice(word):
        return search
    parts = [part.strip() for part in re.split(r"[,+]" if group in _BLENDS else ",", word)]
    if len(parts) > 1 and group in _BLENDS and all(part in options for part in parts):
        return f"write {group}=[{','.join(parts)}] for all of them, or {group}={','.join(parts)} -m to run each of them"
    if len(parts) > 1 and all(part in options or group == "arch" for part in parts):
        return f"add -m to run each of them, or write {group}={parts[0]}"
    if meaning := option_meant(group, word, options):
        is_words = "=" in meaning or meaning.startswith("leave it out")
        return _as_fix(meaning) if is_words else f"did you mean {meaning!r}?"
    if entry := synonyms.OTHER_OPTIONS.get(group):
        suggestion = written(entry, word, context or Here("", ()))
        if suggestion:
            return suggestion
    begun = [candidate for candidate in options if candidate.lower().startswith(f"{word.lower()}-")]
    if len(begun) > 1:
        return f"several begin so: {listing(begun)}; write one of them whole"
    # Tasks can be named by the part before their hash.
    whole = {_HASH.sub("", option): option for option in options}
    near = unique_completion(word, options) or whole.get(nearest(word, whole, 0.6), "") or nearest(word, options, 0.6)
    if not near and (other := nearest(word, synonyms.OPTIONS.get(group, ()), _VERY_NEAR)):
        return for_option(group, other, options, context)
    own = "; a folder of your own is task=folder task.root=DIR" if group == "task" else ""
    return f"did you mean {near!r}?" if near else f"options: {listing(options, most=20)}{own}"


def option_meant(group: str, word: str, options: Iterable[str]) -> str:
    """Return the option, or the text to write, for another program's word; empty if it is unknown."""
    plain = squashed(word)
    by_squashed = {squashed(option): option for option in options}
    table = _options(group)
    # The last part of torch.optim.AdamW is AdamW.
    last = squashed(re.split(r"[./:]", word)[-1])
    for candidate in dict.fromkeys([plain, last, *(plain.removesuffix(end) for end in _ENDINGS)]):
        if candidate and (match := by_squashed.get(candidate) or table.get(candidate)):
            return match
    return ""


def for_mode(word: str) -> str:
    """Return the command intended by a word in place of a mode; empty if there is none."""
    return {squashed(mode): command for mode, command in synonyms.MODES.items()}.get(squashed(word), "")


def written(entry: Entry, value: str, context: Here) -> str:
    """Return `write WORDS` from an entry of the synonyms for a value; empty if no part of it fits."""
    text = value.strip()
    plain = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    for pattern, template in ((".*", entry),) if isinstance(entry, str) else entry:
        match = re.fullmatch(pattern, plain, re.IGNORECASE)
        if match is not None and not (template == "task={}" and plain.partition("+")[0] not in context.tasks):
            return _as_fix(_filled_template(template, text or "VALUE", match.groups(), context))
    return ""


def _as_fix(words: str) -> str:
    return words if words.startswith("leave it out") else f"write {words}"


def _filled_template(template: str, value: str, groups: Sequence[str], context: Here | None = None) -> str:
    """Fill a value into a template; words required for an already existing key are omitted."""
    if template.startswith("leave it out"):
        return template
    words, comma, comment = template.partition(", ")
    parts = []
    for word in words.split(" "):
        match = _WORD.match(word)
        if match is None or "{" not in word:
            parts.append(word)
            continue
        # A list has its own brackets.
        is_list = "[{}]" in match[2] and value[:1] == "[" and value[-1:] == "]"
        filled = match[2].format(value[1:-1] if is_list else value, *groups)
        text = _translated(match[1], filled, context)
        is_special = re.search(r"[\"$();&|<>*?]", text) or (re.search(r"\s", value) and re.search(r"\s", text))
        parts.append(shlex.quote(text) if is_special and "'" not in text else text)
        if context is not None and _aliased(match[1]) in context.names:
            parts = parts[-1:]
            break
    return f"{' '.join(parts)}{comma}{comment.format(value, *groups)}"


def _translated(key: str, value: str, context: Here | None) -> str:
    """Replace another program's option or value in `KEY=VALUE` by mlpipe's."""
    if "." in key:
        meaning = value_synonyms(key).get(squashed(value), value)
        return meaning if "=" in meaning else f"{key}={meaning}"
    group = catalog.ALIASES.get(key, key)
    options = context.tasks if context is not None and group == "task" else _options_of(group)
    if group == "arch" and (network := option_meant("arch", value, ())):
        return f"arch={network}"
    if not options or value in options or value.startswith("NAME"):
        return f"{key}={value}"
    meaning = option_meant(group, value, options)
    if (
        not meaning
        and group in synonyms.OTHER_OPTIONS
        and (other := written(synonyms.OTHER_OPTIONS[group], value, context or Here("", ())))
    ):
        meaning = other.removeprefix("write ")
    return meaning if "=" in meaning else f"{key}={meaning or value}"


def _aliased(key: str) -> str:
    head, dot, rest = key.partition(".")
    return catalog.ALIASES.get(head, head) + dot + rest


def _leaves(context: Here) -> list[str]:
    return [key.rpartition(".")[2] for key in context.names]


@functools.cache
def _options_of(group: str) -> tuple[str, ...]:
    return tuple(catalog.options(group)) if group in catalog.groups() and group != "arch" else ()


@functools.cache
def _entries() -> dict[str, Entry]:
    return {
        f"{mode}{colon}{squashed(word)}": entry
        for key, entry in synonyms.KEYS.items()
        for mode, colon, word in [_mode_and_word(key)]
    }


def _mode_and_word(word: str) -> tuple[str, str, str]:
    mode, colon, rest = word.partition(":")
    return (mode, colon, rest) if colon else ("", "", word)


@functools.cache
def _whole_key_entries() -> dict[str, Entry]:
    return {squashed_parts(name): entry for name, entry in synonyms.WHOLE.items()}


@functools.cache
def _preferred_words() -> frozenset[str]:
    return frozenset(map(squashed, synonyms.RATHER))


@functools.cache
def _sections() -> dict[str, str]:
    return {squashed(word): section for word, section in synonyms.SECTIONS.items()}


@functools.cache
def _options(group: str) -> Mapping[str, str]:
    return {squashed(word): option for word, option in synonyms.OPTIONS.get(group, {}).items()}


def is_word(word: str) -> bool:
    """Return whether another program has a key of this name."""
    return squashed(word) in _entries()


def in_place_of(word: str, value: str, mode: str) -> str:
    """Suggest a replacement for a key that cannot be set, by its last word; empty if unknown."""
    entry = _entries().get(squashed(word)) or (f"{word}={{}}" if word in catalog.groups() else None)
    return written(entry, value, Here(mode, ())) if entry is not None else ""


def for_word(word: str, mode: str, value: str = "true") -> str:
    """Suggest a replacement for a word without a value that is a key of another program; empty if unknown.

    Args:
        word: The word.
        mode: The mode.
        value: The assumed value of a word whose meaning depends on its value.
    """
    entry = _entries().get(f"{mode}:{squashed(word)}") or _entries().get(squashed(word))
    if entry is None:
        return ""
    return written(entry, "VALUE" if isinstance(entry, str) else value, Here(mode, ()))
