"""Text out of files, made fit to show."""

from __future__ import annotations


def printable(text: object, limit: int = 160) -> str:
    r"""Return text from a file as one harmless line, cut if long: control characters as \x1b."""
    line = str(text)
    if len(line) > limit:
        line = f"{line[: limit // 2]}…{line[-limit // 4 :]} ({len(line):,} characters)"
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
