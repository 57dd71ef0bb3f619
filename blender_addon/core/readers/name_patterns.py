r"""Patterns of module names out of a file, matched in a time that no pattern can make long.

Python's `re` tries one way after the other, and a pattern made for it can keep it busy for years.
Here the places of a name that a pattern can reach are followed together, so that each of its signs
is looked at once. What is understood: words, ``.``, ``\d``, ``\w``, escaped signs, ``[a-z]``,
``[^a-z]``, ``( | )``, ``(?: )``, ``^``, ``$``; ``?``; ``*`` and ``+`` behind what stands for one
letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLAIN = re.compile(r"[\w.-]*")
_MOST_SIGNS = 1000
_MOST_NESTED = 20
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdigit,
    "w": lambda letter: letter.isalnum() or letter == "_",
}


def matches(pattern: str, name: str) -> bool:
    """Return whether the end of a module's name matches a pattern.

    As in PEFT, the match begins where the name does or after one of its points, and ends with it.

    Raises
    ------
    ValueError
        The pattern is too long, or has signs beyond those that are understood.
    """
    if len(pattern) > _MOST_SIGNS:
        raise ValueError("the pattern is too long")
    if is_plain(pattern):
        end = name[max(len(name) - len(pattern), 0) :]
        begins = len(name) <= len(pattern) or name[len(name) - len(pattern) - 1] == "."
        same = (sign in (".", letter) for sign, letter in zip(pattern, end, strict=False))
        return begins and len(end) == len(pattern) and all(same)
    walk = _Walk(pattern, name)
    starts = {0, *(at + 1 for at, letter in enumerate(name) if letter == ".")}
    reached = walk.choice(starts)
    if walk.next:
        raise ValueError("a group is closed that was not opened")
    return len(name) in reached


def is_plain(pattern: str) -> bool:
    """Return whether a pattern is words and points, as most are: no time is lost on those."""
    return _PLAIN.fullmatch(pattern) is not None


class _Walk:
    """Reads a pattern from left to right and follows the places of the name that it reaches."""

    def __init__(self, pattern: str, name: str) -> None:
        self.pattern, self.name = pattern, name
        self.at = self.depth = 0

    @property
    def next(self) -> str:
        """The next sign, "" at the end."""
        return self.pattern[self.at : self.at + 1]

    def _take(self, *signs: str) -> str:
        """Step over the next sign if it is one of these."""
        sign = self.next if self.next in signs else ""
        self.at += len(sign)
        return sign

    def choice(self, places: set[int]) -> set[int]:
        """Follow what stands between ``|``."""
        reached = self._row(places)
        while self._take("|"):
            reached |= self._row(places)
        return reached

    def _row(self, places: set[int]) -> set[int]:
        places = set(places)
        while self.next not in ("", "|", ")"):
            places = self._part(places)
        return places

    def _part(self, places: set[int]) -> set[int]:
        if self._take("^"):
            return places & {0}
        if self._take("$"):
            return places & {len(self.name)}
        if self._take("("):
            return self._group(places)
        stands_for = self._letter()
        many, reached = self._take("*", "+", "?"), self._step(places, stands_for)
        self._take("?") if many else None  # fewest first: the same ends are reached
        if many in ("*", "+"):
            new = reached
            while new:
                new = self._step(new, stands_for) - reached
                reached |= new
        return reached | places if many in ("*", "?") else reached

    def _group(self, places: set[int]) -> set[int]:
        self.depth += 1
        if (self._take("?") and not self._take(":")) or self.depth > _MOST_NESTED:
            raise ValueError("such a group is not understood")
        reached = self.choice(places)
        if not self._take(")"):
            raise ValueError("a group is not closed")
        self.depth -= 1
        return reached | places if self._take("?") else reached

    def _step(self, places: set[int], stands_for: Callable[[str], bool]) -> set[int]:
        name = self.name
        return {at + 1 for at in places if at < len(name) and stands_for(name[at])}

    def _letter(self) -> Callable[[str], bool]:
        """Return which letters the next signs stand for."""
        sign = self.next
        self.at += 1
        if sign == ".":
            return lambda letter: True
        if sign == "[":
            return self._class()
        if sign == "\\":
            return self._escaped()
        if sign in "*+?{}":
            raise ValueError("such a repetition is not understood")
        return lambda letter: letter == sign

    def _escaped(self) -> Callable[[str], bool]:
        sign = self.next
        self.at += 1
        if sign in _CLASSES:
            return _CLASSES[sign]
        if not sign or sign.isalnum():
            raise ValueError("such a letter is not understood")
        return lambda letter: letter == sign

    def _class(self) -> Callable[[str], bool]:
        others = bool(self._take("^"))
        among: list[Callable[[str], bool]] = []
        while not self._take("]") or not among:
            among.append(self._member())
        return lambda letter: any(one(letter) for one in among) != others

    def _member(self) -> Callable[[str], bool]:
        first = self.next
        self.at += 1
        if first == "\\":
            return self._escaped()
        if not first or first in "[]":
            raise ValueError("a class is not closed, or not understood")
        ends = self.pattern[self.at : self.at + 2]
        if ends[:1] != "-" or ends in ("-", "-]"):
            return lambda letter: letter == first
        self.at += 2
        if ends[1] in "[\\" or ends[1] < first:
            raise ValueError("a range is not understood")
        return lambda letter: first <= letter <= ends[1]
