"""TOML with line numbers, which Python's own reader does not keep."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError

LIMIT = 1 << 20  # bytes; a job file of ten thousand models has less

# Strings of both kinds on several lines and on one, comments, brackets, ends of lines.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'{3}.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[][{}\n]',
    re.DOTALL,
)

Place = Sequence[str | int]


class Toml:
    """A TOML file.

    Attributes
    ----------
    path : Path
    content : dict
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises
        ------
        SettingsError
            It cannot be read, or is not TOML.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                data = file.read(LIMIT + 1)
            if len(data) > LIMIT:
                raise SettingsError(f"{path}: larger than {LIMIT >> 20} MiB; is it a job file?")
            self.text = data.decode("utf-8-sig")
            self.content = tomllib.loads(self.text)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise SettingsError(f"{path}: cannot be read ({why})") from None
        except RecursionError:
            raise SettingsError(f"{path}: this is nested too deeply for a job file") from None
        except ValueError as error:  # also of numbers with thousands of digits
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"{path}: this is not TOML: {error}") from None

    def error(self, place: Place, message: str) -> SettingsError:
        """Return an error that names the file and the line."""
        return SettingsError(f"{self.path}, line {self.line(place)}: {message}")

    def line(self, place: Place) -> int:
        """Return the line on which a key, or the heading of a table, begins.

        The beginning of a TOML file is TOML as well if it ends between two statements: the first
        such beginning that has the key ends with the statement that brings it.

        Parameters
        ----------
        place : sequence of str or int
            Keys, and indices of arrays, from the outside: ``("model", 1, "faces")``.
        """
        lines = self.text.split("\n")
        ends = [0, *_statement_ends(self.text), len(lines)]

        def has(index: int) -> bool:
            return _has(tomllib.loads("\n".join(lines[: ends[index]]) + "\n"), place)

        first = bisect_left(range(len(ends)), True, key=has)
        return ends[max(first - 1, 0)] + 1


def _statement_ends(text: str) -> Iterator[int]:
    """Yield the numbers of the lines of a TOML file that end outside of strings and brackets."""
    line, depth = 0, 0
    for token in _TOKEN.finditer(text):
        found = token.group()
        if found == "\n":
            line += 1
            if not depth:
                yield line
        elif found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        else:
            line += found.count("\n")


def _has(content: Any, place: Place) -> bool:
    for step in place:
        if isinstance(step, int):
            if not isinstance(content, list) or len(content) <= step:
                return False
        elif not isinstance(content, dict) or step not in content:
            return False
        content = content[step]
    return True
