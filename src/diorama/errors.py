"""What went wrong, where, and what to do: every error a user can cause is a `UserError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error whose text is one line: what happened, where, and what to do about it.

    The command line prints the text without a traceback (unless `--debug`) and exits with `exit_status`.
    """

    exit_status = 2


class ConfigError(UserError):
    """A setting is unknown, missing or contradicts another."""


class DataError(UserError):
    """A file or folder is missing, damaged or not what it should be."""


class ShapeError(UserError, ValueError):
    """Two arrays that must agree in size do not."""


class ProtocolError(UserError):
    """Two numbers of different protocols were about to be compared."""


class ModelError(UserError):
    """A model file or checkpoint cannot be used for what was asked."""


class TrainingError(UserError):
    """A training step cannot go on (a non-finite loss, no memory, no labelled pixel)."""

    exit_status = 3


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line of at most 120 characters."""
    return " ".join(str(error).split())[:120] or type(error).__name__


_MOST_NAMED = 20


def suggest(word: str, known: Iterable[str]) -> str:
    """The sentence that helps after an unknown `word`: `did you mean 'x'?`, or the known words, of many the first twenty."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    more = len(known) - _MOST_NAMED
    return f"Known: {', '.join(known[:_MOST_NAMED])}{f' and {more} more' if more > 0 else ''}."
