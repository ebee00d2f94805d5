"""The exceptions of the package.

Each error says three things: what went wrong, where (which file, case or option), and what to do about it.
The command line prints exactly that, without a traceback; library callers get it as ``str(error)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from swin_umamba.pseudonyms import hidden

_WHERE = "  where: "


class SwinUMambaError(Exception):
    """Base class of all errors that a user can cause or correct.

    Parameters
    ----------
    what
        One sentence that says what went wrong.
    where
        The file, case or option concerned.
    hint
        What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(what, self.where, hint)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            # A line break in a file name must not start a new line.
            lines.append(_WHERE + hidden(self.where).replace("\n", "\N{REPLACEMENT CHARACTER}"))
        if self.hint is not None:
            lines.append(f"  what to do: {self.hint}")
        return printable(hidden("\n".join(lines)))

    def parts(self) -> dict[str, str | None]:
        """Return what, where and hint in the form in which they may be shown and written."""
        content = {"what": self.what, "where": self.where, "hint": self.hint}
        return {name: None if text is None else hidden(text) for name, text in content.items()}

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would hand all three parts to ``what``.
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def unexpected(
    error: BaseException, *, where: str | Path | None = None, hint: str | None = None
) -> SwinUMambaError:
    """Return the error for an exception that is none of ours: most likely a fault of the program."""
    return SwinUMambaError(f"unexpected {type(error).__name__}: {error}", where=where, hint=hint)


def printable(text: str) -> str:
    """Return ``text`` with control characters other than line breaks replaced.

    Names from untrusted files become part of messages, and must not control the terminal.
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def in_short(names: Sequence[str], most: int = 5) -> str:
    """Return the first ``most`` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def by_reason(failures: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join the failures of cases that differ in nothing but where they are.

    Parameters
    ----------
    failures
        Name of each case, and its error as text (``str(error)``).

    Returns
    -------
    list of (str, str)
        ``case NAME`` or ``N cases (NAMES)`` with the first names, on one line; and the text, with the first
        of several places. They are in the order in which each reason first occurs.

    Examples
    --------
    >>> by_reason([("a", "it is empty"), ("b", "it is damaged"), ("c", "it is empty")])
    [('2 cases (a, c)', 'it is empty'), ('case b', 'it is damaged')]
    """
    found: dict[str, tuple[list[str], dict[str, None]]] = {}
    for case, text in failures:
        what, mark, rest = text.partition("\n" + _WHERE)
        place, *more = rest.split("\n", 1)
        cases, places = found.setdefault("\n".join([what + mark, *more]), ([], {}))
        cases.append(printable(case).replace("\n", " "))
        places[place] = None
    return [
        (
            f"case {cases[0]}" if len(cases) == 1 else f"{len(cases)} cases ({in_short(cases)})",
            reason.replace(_WHERE, _WHERE + in_short(list(places), 1), 1),
        )
        for reason, (cases, places) in found.items()
    ]


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, where: str | Path | None = None
) -> UsageError:
    """Return the error for an unknown name, with similar names.

    Parameters
    ----------
    kind
        Kind of thing that the name refers to, for example ``"trainer"``.
    name
        The given name.
    known
        The known names.
    where
        Option or file that contains the name.
    """
    names = list(known)
    close = similar_names(name, names)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    hint = f"{guess}known: {', '.join(names) or 'none'}"
    return UsageError(f"there is no {kind} {name!r}", where=where, hint=hint)


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the ``known`` names that may have been meant, the closest first."""
    return get_close_matches(name, list(known), cutoff=0.5)


def _rebuild(
    error_class: type[SwinUMambaError], what: str, where: str | None, hint: str | None
) -> SwinUMambaError:
    return error_class(what, where=where, hint=hint)


class UsageError(SwinUMambaError):
    """A command or function was called with a wrong name, option or combination."""

    exit_code = 2


class DataError(SwinUMambaError):
    """An image, label map or data set is damaged, incomplete or inconsistent."""


class GeometryError(DataError):
    """Two images that must be on the same grid differ in shape, spacing, origin or direction."""


class CheckpointError(SwinUMambaError):
    """A checkpoint or weights file is missing, damaged, for another network, or not safe to load."""


class BackendError(SwinUMambaError):
    """The requested device or scan backend is not available on this machine."""


class OutputError(SwinUMambaError):
    """A result could not be written. An earlier file in its place is unchanged."""


class TrainingError(SwinUMambaError):
    """Training cannot start or continue."""
