"""Split a line that is still being typed into words, as a Bourne shell would."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# Characters after which bash begins another piece of a word.
_BREAKS = "=:@"


@dataclass(frozen=True)
class TypedLine:
    """A command line up to the cursor.

    Attributes:
        words: The complete words after the command, without quotes.
        word: The part of the word before the cursor, without quotes.
        quote: The quote still open at the cursor; empty: none.
    """

    words: list[str]
    word: str
    quote: str

    def start_of(self, piece: str) -> int:
        """Return the index in the word at which the piece begins that the shell replaces.

        Args:
            piece: The piece as the shell writes it; its quotes are ignored.
        """
        plain = unquoted(piece)
        if plain in ("=", ":"):
            # The typed text that is not replaced.
            plain = ""
        if not plain and not self.quote:
            return max(self.word.rfind(letter) for letter in _BREAKS) + 1
        return len(self.word) - len(plain) if self.word.endswith(plain) else 0


def read(text: str) -> TypedLine:
    """Split a line into words.

    Args:
        text: The line up to the cursor, including the command and any assignments before it.
    """
    words, quote = _split(text)
    command = next((place for place, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words) - 1)
    return TypedLine(words[command + 1 : -1], words[-1] if len(words) > command + 1 else "", quote)


def unquoted(word: str) -> str:
    """Return a word that is still being typed, without its quotes.

    Args:
        word: The word, without blanks outside quotes.
    """
    return _split(word)[0][-1]


def _split(text: str) -> tuple[list[str], str]:
    """Return the words without quotes, the last one unfinished and possibly empty, and the quote still open."""
    words, quote, is_escaped, is_between = [""], "", False, False
    for letter in text:
        if is_between and not letter.isspace():
            words.append("")
            is_between = False
        if is_escaped:
            words[-1] += letter
            is_escaped = False
        elif letter == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            if letter == quote:
                quote = ""
            else:
                words[-1] += letter
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            is_between = True
        else:
            words[-1] += letter
    return [*words, ""] if is_between else words, quote
