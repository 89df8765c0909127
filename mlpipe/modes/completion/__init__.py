"""`mml completion`: complete modes, groups, options, keys, tasks, projects and files with the Tab key.

mml completion bash|zsh|fish    prints a script; without a shell this text

bash   put this line into ~/.bashrc:
           eval "$(mml completion bash)"
zsh    put this line into ~/.zshrc, below compinit where that is called:
           eval "$(mml completion zsh)"
fish   put this line into ~/.config/fish/config.fish:
           mml completion fish | source

The same line typed at the prompt works at once, until the shell ends. `mml` must be found by its name: activate its environment.
Names that a shell would have to quote, with blanks for example, are left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mlpipe.errors import ConfigError, did_you_mean, problem

SCRIPTS = {"bash": "bash.sh", "zsh": "zsh.sh", "fish": "fish.fish"}
_CANDIDATES = "--candidates"


def main(words: Sequence[str]) -> int:
    """Answer `mml completion WORDS`.

    Args:
        words: The name of a shell, or nothing. The completion scripts pass `--candidates SHELL` and write what was
            typed to standard input, each item followed by a NUL: the words without the command; for bash, the whole
            line and the piece to replace.

    Returns:
        0.

    Raises:
        ConfigError: When there is no such shell.
    """
    if not words:
        print(str(__doc__).partition("\n\n")[2].rstrip())
        return 0
    shells = [word for word in words if word != _CANDIDATES]
    if len(shells) != 1 or shells[0] not in SCRIPTS:
        near = SCRIPTS if len(shells) == 1 else ()
        fix = did_you_mean(" ".join(shells), near, otherwise=f"one of {', '.join(SCRIPTS)}")
        raise ConfigError(problem("completion", "names one shell", got=" ".join(shells), fix=fix))
    if _CANDIDATES not in words:
        print((Path(__file__).parent / SCRIPTS[shells[0]]).read_text("utf-8"), end="")
        return 0
    typed = sys.stdin.buffer.read().decode("utf-8", "replace").split("\0")[:-1]
    if lines := _reply(shells[0], typed):
        print("\n".join(lines))
    return 0


def _reply(shell: str, typed: list[str]) -> list[str]:
    """Return the lines that a shell's completion script reads."""
    from mlpipe.modes.completion import candidates, line

    if shell != "bash":
        # The last word is as typed, possibly with an open quote.
        matches = candidates.of(typed[:-1], line.unquoted(typed[-1] if typed else ""), os.environ)
        return [f"{match.text}\t{match.about}" if match.about else match.text for match in matches]
    whole, piece = [*typed, "", ""][:2]
    read = line.read(whole)
    matches = candidates.of(read.words, read.word, os.environ, with_meanings=False)
    start = read.start_of(piece)
    # Inside quotes, the shell itself ends the word.
    return [match.text[start:] + (" " if match.is_whole and not read.quote else "") for match in matches]
