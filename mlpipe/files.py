"""Atomic file writes, hashes, safe names, and the readers of JSON, YAML and CSV."""

from __future__ import annotations

import copy
import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TextIO, cast

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from mlpipe import limits
from mlpipe.errors import TOO_LARGE, DiskFull, ProjectError, problem

_CHUNK = 1 << 20
# Matches before a text that a spreadsheet would evaluate as a formula (plain signed numbers are safe) or that has a mark already.
COMPUTED = re.compile(r"(?i)\A(?=[=+\-@\t\r'])(?![+-](?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\Z|[+-](?:inf|infinity|nan)\Z)")
# Lists of only these types are encoded in one call.
_SCALARS = {str, int, float, bool, type(None)}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|\d+ requested and \d+ written|database or disk is full"
    r"|inline_container.*unexpected pos|PytorchStreamWriter failed writing"
)
# Constructs that libyaml and PyYAML parse differently: tabs, unusual line breaks and byte order marks, question marks (in flow
# style), directives, empty tags, comments directly after a block scalar indicator.
_ODD = re.compile(r"[\t\r\x85\u2028\u2029\ufeff?]|^%|!(?=[\s,\]}]|\Z)|[|>][0-9+-]*#", re.M)
_FLOAT, _INT, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("float", "int", "merge"))
# Numbers as in YAML 1.2 and Hydra, so that `lr: 1e-4` is a float in every file (a text in YAML 1.1).
_NUMBER = re.compile(
    r"""[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN)""",
    re.X,
)


def disk_is_full(error: BaseException) -> bool:
    """Return whether an error or one of its causes means that a disk, a quota or a file size limit is full.

    Libraries with their own writers do not raise `OSError`, so that their messages are searched: Rust and C++ libraries
    repeat the system's message, NumPy and torch name the number of bytes written, SQLite has a message of its own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFull) or (isinstance(cause, OSError) and cause.errno in _FULL):
            return True
        if _FULL_WORDS.search(str(cause)):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def why_full(error: BaseException) -> str:
    """Return a few words that say which limit was reached, for an error for which `disk_is_full` is true."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFull):
            return cause.reason
        number, text = cause.errno if isinstance(cause, OSError) else None, str(cause)
        if number == errno.EFBIG or "File too large" in text:
            return TOO_LARGE
        if number == errno.EDQUOT or "Disk quota exceeded" in text:
            return "the disk quota is used up"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "the disk is full"


@contextmanager
def durable(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path beside `path`; on success fsync it, rename it, and fsync the folder.

    Args:
        path: The file to create or replace. Missing parent folders are created.

    Raises:
        OSError: If the folder is not writable; an old file stays unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path))
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes and threads, such as while a file is read, changed and written.

    Args:
        path: The file of the lock, which stays; missing parent folders are created.

    Raises:
        ProjectError: If it is a link or a folder.
        OSError: If the folder is not writable.
    """
    # Imported here, because most commands that only look at something need no lock.
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        if not path.is_symlink() and not path.is_dir():
            raise
        wrong = "is a link or no ordinary file, so that it cannot be a lock"
        raise ProjectError(problem(str(path), wrong, fix="remove it")) from error
    try:
        yield
    finally:
        lock.release()


def temporary_name(path: Path) -> str:
    """Return the name of an unfinished file beside `path`; it contains the process number and the machine."""
    return f".{path.name}.tmp-{os.getpid()}-{machine()}{secrets.token_hex(4)}"


@cache
def machine() -> str:
    """Return eight hexadecimal digits of host, boot and container: within these a process number is unambiguous."""
    boot, numbers = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [platform.node(), boot.read_text("utf-8") if boot.exists() else ""]
    return digest([*parts, str(numbers.readlink()) if numbers.is_symlink() else ""])[:8]


def sync_folder(folder: Path) -> None:
    """Fsync a folder, without which a rename in it may be lost in a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Durably write `content` to `path`."""
    with durable(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Durably write UTF-8 `content` to `path`."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Durably write `content` as indented JSON; NaN and infinity become null, because JSON has neither."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return the text that `write_json` writes for `content`."""
    return _indented(content, "\n") + "\n"


def _indented(value: Any, start: str) -> str:
    """Return the text of `json.dumps(indent=1)`, but faster: with an indent, `json.dumps` does not use its C encoder.

    Args:
        value: The data.
        start: A newline and the indentation of the line on which `value` starts.
    """
    item: Callable[[], Any] | None = getattr(value, "item", None)
    if item is not None and not isinstance(value, str):
        value = item()
    inner = start + " "
    if isinstance(value, dict) and value:
        # The JSON encoder turns keys that are numbers into texts.
        rows = (f"{_compact_json({key: 0})[1:-2]} {_indented(entry, inner)}" for key, entry in value.items())
        return f"{{{inner}{f',{inner}'.join(rows)}{start}}}"
    if not isinstance(value, list | tuple) or not value:
        return _flat_json([value], ",")
    if _SCALARS.issuperset(map(type, value)):
        return f"[{inner}{_flat_json(value, f',{inner}')}{start}]"
    return f"[{inner}{f',{inner}'.join(_indented(entry, inner) for entry in value)}{start}]"


def _flat_json(values: Sequence[Any], between: str) -> str:
    try:
        return _compact_json(values, between)[1:-1]
    except ValueError:
        finite = [None if isinstance(value, float) and value - value != 0 else value for value in values]
        return _compact_json(finite, between)[1:-1]


def _compact_json(value: Any, between: str = ",") -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(between, ":"))


def read_json(path: Path, most: int = limits.STORED) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        most: The largest accepted size in bytes.

    Raises:
        OSError: If the file cannot be opened, is not a regular file, or is larger.
        ValueError: If the content is not JSON or is nested too deeply.
    """
    return plain_json(limits.text(path, most))


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as CSV text with a header; missing cells are empty.

    Texts that a spreadsheet would evaluate get a mark, see `marked`.

    Args:
        rows: A mapping from column to value for each row.
        columns: The columns in order; None: those of the first row (an empty text if there are no rows).

    Raises:
        ValueError: If a row has a column that is not in `columns`.
    """
    if columns is None and not rows:
        return ""
    names = list(columns if columns is not None else rows[0])
    for row in rows:
        if unknown := row.keys() - set(names):
            raise ValueError(f"a row has other columns: {sorted(map(str, unknown))}")
    return csv_table([names, *([row.get(name, "") for name in names] for row in rows)])


def csv_table(table: Iterable[Sequence[Any]]) -> str:
    """Return lines of cells, including the header, as CSV text; texts that a spreadsheet would evaluate get a mark, see `marked`.

    Args:
        table: The cells of each line.
    """
    out, lines = io.StringIO(), []
    # With "\r\n" as terminator the writer quotes cells that contain either character; the file itself uses "\n".
    writer = csv.writer(out, lineterminator="\r\n")
    for row in table:
        writer.writerow([marked(cell) for cell in row])
        lines.append(out.getvalue().removesuffix("\r\n"))
        out.seek(0)
        out.truncate()
    return "\n".join([*lines, ""])


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file of any program, as dictionaries by column name.

    Raises:
        OSError: If the file cannot be opened, is not a regular file, or is larger than `limits.STORED`.
        ValueError: If it is not UTF-8 or not CSV, a column name occurs twice, or a row has a wrong number of cells.
    """
    try:
        lines = list(csv.reader(io.StringIO(limits.text(path, limits.STORED).removeprefix("\ufeff"), newline="")))
    except csv.Error as error:
        raise ValueError(f"it is no CSV ({error})") from error
    names, rows = (lines[0] if lines else []), [row for row in lines[1:] if row]
    if len(set(names)) < len(names):
        raise ValueError("it has a column twice")
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"a row has no {len(names)} cells")
    return [dict(zip(names, row, strict=True)) for row in rows]


def marked(value: Any) -> Any:
    """Return a cell that is safe in spreadsheets: a text that would be evaluated as a formula gets a leading apostrophe.

    A text with a leading apostrophe gets another one, so that `unmarked` restores every text. Numbers stay as they are.
    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return COMPUTED.sub("'", value) if isinstance(value, str) else value


def unmarked(text: str) -> str:
    """Return the text of a cell that `marked` wrote: the inverse of `marked`."""
    return text.removeprefix("'")


def read_yaml(path: Path) -> Any:
    """Read a YAML file, see `plain_yaml`.

    Raises:
        OSError: If the file cannot be opened, is not a regular file, or is larger than `limits.TEXT`.
        ValueError: As in `plain_yaml`, or if the file is not UTF-8.
    """
    return plain_yaml(limits.text(path))


def plain_yaml(text: str) -> Any:
    """Parse a YAML text into plain data; numbers and dates are resolved as in Hydra.

    Raises:
        ValueError: If the text is not YAML, has a duplicate key, contains itself through an alias, is nested too deeply, has a
            number of too many digits, or has more than `limits.KEYS` keys or, with all aliases expanded, more than
            `limits.NODES` values.
    """
    # A command reads the same file several times, and parsing is slow.
    return copy.deepcopy(_read_yaml(text))


@lru_cache(maxsize=4)
def _read_yaml(text: str) -> Any:
    if text.count(":") > limits.KEYS:
        # No need to parse it first.
        raise ValueError(f"it holds more than {limits.KEYS:,} keys")
    for make in _loaders(text):
        try:
            return _constructed(make, text)
        except (yaml.YAMLError, UnicodeError) as error:
            # PyYAML's own parser, the last one, has the best messages and the final say.
            failed = error
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"a value does not fit its tag ({type(error).__name__}: {error})") from error
    raise ValueError(" ".join(str(failed).split())) from failed


def _loaders(text: str) -> list[Any]:
    """Return the loaders to try in order; only PyYAML's own if libyaml might parse the text differently."""
    return _LOADERS[-1:] if _ODD.search(text) else _LOADERS


def _constructed(make: Any, text: str) -> Any:
    """Parse a text with one of `_LOADERS`."""
    loader = make(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Counted before construction, because merges of merges grow exponentially when they are expanded.
        _count(node, {}, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def yaml_nodes(text: str) -> yaml.Node | None:
    """Parse a YAML text into nodes, which have line numbers; None for an empty text.

    Raises:
        ValueError: As in `plain_yaml`.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    finally:
        if loader is not None:
            loader.dispose()


def yaml_text(content: Any, **options: Any) -> str:
    """Return plain data as YAML that `plain_yaml` and every YAML 1.1 reader parse alike; keys keep their order.

    Args:
        content: The data.
        options: Options of PyYAML's `dump`, such as `width`.
    """
    return cast(str, yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options))


class _Composer(Composer):
    """A composer that raises as soon as there are too many nodes or too many levels."""

    _nodes = _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._nodes > 2 * limits.NODES:
            raise ValueError(f"it holds more than {limits.NODES:,} values")
        if self._depth > limits.DEPTH:
            raise ValueError("it is nested too deeply")
        node: yaml.Node | None = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and node.tag == _INT and len(node.value) > limits.DIGITS:
            raise ValueError(f"it has a number of {len(node.value):,} digits")
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                before = lines[key.tag, key.value]
                where = f"once in line {before}" if before != line else "in the same line"
                raise ValueError(f"line {line} has {key.value!r} a second time, {where}; one of the two is meant")
            lines[key.tag, key.value] = line
        return node


class _Loader(_Composer, yaml.SafeLoader):
    """Reads YAML as Hydra does."""


_LOADERS: list[Any] = [_Loader]
if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class _QuickLoader(_Composer, CParser, SafeConstructor, Resolver):
        """The same with the parser of libyaml, which is several times as quick."""

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    _LOADERS.insert(0, _QuickLoader)


class _Dumper(yaml.SafeDumper):
    """Puts texts that some reader takes for a number into quotes."""


for _one in (*_LOADERS, _Dumper):
    _one.add_implicit_resolver(_FLOAT, re.compile(f"^(?:{_NUMBER.pattern})$", re.X), list("-+0123456789."))
# A date is a text, as for Hydra.
for _two in _LOADERS:
    _two.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in _two.yaml_implicit_resolvers.items()
    }


def plain_json(text: str, *, unique: bool = False) -> Any:
    """The data of a JSON text.

    Args:
        text: The text; a byte order mark, with which some editors begin it, is no part of the data.
        unique: Refuse an object that has a key twice, as what a person writes should be read.

    Raises:
        ValueError: When it is not JSON, is nested too deeply to be read, or has a key twice where none may be.
    """
    try:
        data = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object_of_pairs if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # What Python's parser can do differs by version; what goes through the data afterwards has Python's own stack.
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(limits.JSON_DEPTH):
        level = [child for container in level for child in _containers(container)]
        if not level:
            return data
    raise ValueError("it is nested too deeply")


def _containers(value: dict[str, Any] | list[Any]) -> list[Any]:
    """The objects and lists in one."""
    inner = value.values() if isinstance(value, dict) else value
    # Of a row of numbers only the types are looked at.
    if not {dict, list} & set(map(type, inner)):
        return []
    return [child for child in inner if isinstance(child, dict | list)]


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"it has {max(counts, key=lambda key: counts[key])!r} twice in one object")
    return mapping


def open_own(path: Path) -> TextIO:
    """Open a file of the project to append UTF-8 text; symbolic links are refused, since they may lead out of the project.

    Raises:
        ProjectError: If it is a link or not a regular file.
        OSError: If it cannot be opened.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        wrong = "is a link or no ordinary file, so that nothing is written to it"
        raise ProjectError(problem(str(path), wrong, fix="remove it"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def links_out(folder: Path, leaving: Sequence[str] = ()) -> list[Path]:
    """Return the symbolic links below a folder that point out of it, without following any.

    Args:
        folder: The folder, which may itself be a link.
        leaving: Names of direct sub-folders to skip.
    """
    home, links, waiting = folder.resolve(), list[Path](), [folder]
    # scandir reports the type of each entry, so that files need no further system call.
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if place is folder and entry.name in leaving and entry.is_dir(follow_symlinks=False):
                        continue
                    if entry.is_symlink():
                        link = Path(entry.path)
                        links += [link] if not link.resolve().is_relative_to(home) else []
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except OSError:
            continue
    return sorted(links)


def append_line(path: Path, line: str) -> None:
    """Append one line and fsync, so that a logged event survives a crash."""
    with open_own(path) as handle:
        handle.write(line.rstrip("\n") + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def digest_bytes(content: bytes) -> str:
    """Return the 128-bit BLAKE2b hash of bytes, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Return the 128-bit BLAKE2b hash of a file's content, in hexadecimal."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as handle:
        while piece := handle.read(_CHUNK):
            state.update(piece)
    return state.hexdigest()


def digest(value: Any) -> str:
    """Return a hash of plain data (None, bool, numbers, text, lists, dictionaries), independent of the order of keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(canonical.encode("utf-8"))


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Durably write `content` as JSON with a `checksum` of all other keys."""
    plain = json.loads(json_text(content))
    write_json(path, {**plain, "checksum": digest(plain)})


def seal_is_broken(stored: dict[str, Any]) -> bool | None:
    """Return whether the content of a file of `write_sealed` was changed; None if it has no checksum."""
    if "checksum" not in stored:
        return None
    return bool(stored["checksum"] != digest({key: value for key, value in stored.items() if key != "checksum"}))


def safe_name(text: str) -> str:
    """Return `text` as a safe file name of letters, digits and `._+-`: at most 80 characters, never empty or hidden."""
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("._") or "unnamed"
    return name[:80]


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded; file names may contain bytes that are not UTF-8."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def nearest_existing(path: Path) -> Path:
    """Return `path` itself or its nearest existing parent."""
    current = path.absolute()
    while not current.exists():
        current = current.parent
    return current


def is_writable(folder: Path) -> bool:
    """Return whether a file can be created in `folder` (or its nearest existing parent), by trying it."""
    existing = nearest_existing(folder)
    if not existing.is_dir():
        return False
    probe = existing / f".mlpipe-probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.touch(exist_ok=False)
    except OSError:
        return False
    probe.unlink()
    return True


def _count(node: yaml.Node, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """Return the number of values and of key-value pairs of a node with all aliases and merges expanded."""
    if isinstance(node, yaml.ScalarNode):
        return 1, 0
    if id(node) in above:
        raise ValueError("it holds itself")
    if id(node) not in known:
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            values, pairs = _count_pairs(node, known, above)
        else:
            values, pairs = 1 + sum(_count(item, known, above)[0] for item in node.value), 0
        above.remove(id(node))
        if max(values, pairs) > limits.NODES:
            raise ValueError(f"it holds more than {limits.NODES:,} values")
        known[id(node)] = values, pairs
    return known[id(node)]


def _count_pairs(node: yaml.MappingNode, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    values, pairs = 1, 0
    for key, value in node.value:
        if key.tag == _MERGE:
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            counts = [_count(mapping, known, above) for mapping in merged]
            values += sum(count - 1 for count, _ in counts)
            pairs += sum(count for _, count in counts)
        else:
            values += _count(value, known, above)[0]
            pairs += 1
    return values, pairs
