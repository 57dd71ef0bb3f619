"""The keys of a job file: the long options of a command, without their dashes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..core.errors import SettingsError

# What a catalog decides by itself, and why.
DECIDED = {
    "out": "each part has a folder of its own in the catalog's",
    "glb-compression": "it is quantize, which the page's viewer reads without a decoder",
    "follow": "a catalog ends",
    "dataset": "a page has no use for it",
    "workers": "a catalog makes several parts at once by --jobs",
    "scheduler": "a catalog makes its parts on this machine",
    "shared": "it goes with workers and scheduler",
    "debug": "it is an option of the command line",
    "help": "it is an option of the command line",
}
LARGEST = 1 << 63


class Options:
    """The options of one command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The command's own: an option that is new there is a new key here.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.by_key = {
            option[2:]: action
            for action in parser._actions
            for option in action.option_strings
            if option.startswith("--")
        }

    def check_key(self, key: str, others: Mapping[str, object]) -> None:
        """Raise `SettingsError` where a key is neither an option nor one of the others."""
        if key in others:
            return
        if key in DECIDED and key in self.by_key:
            raise SettingsError(f"{key!r} cannot be set here: {DECIDED[key]}")
        if key not in self.by_key:
            known = [*others, *(k for k in self.by_key if k not in DECIDED)]
            near = get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"unknown key {key!r}{hint}")

    def words(self, key: str, value: Any) -> list[str]:
        """Return an option as words of the command line.

        Raises
        ------
        SettingsError
            The value is of another type than the option takes.
        """
        action = self.by_key[key]
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise SettingsError(f"{key}: {_shown(value)} is not true or false")
            return [f"--{key}"] if value else []
        if isinstance(action, argparse._AppendAction):
            values = value if isinstance(value, list) else [value]
            return [f"--{key}={_text(key, action, each)}" for each in values]
        if isinstance(value, list) and action.metavar == "LIST":
            return [f"--{key}={','.join(_text(key, action, each) for each in value)}"]
        return [f"--{key}={_text(key, action, value)}"]


def _text(key: str, action: argparse.Action, value: Any) -> str:
    """Return a value as a word of the command line, if it has the option's type."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and abs(value) > LARGEST:
        raise SettingsError(f"{key}: the number is too large")
    if action.type is int:
        wanted, fits = "a whole number", whole
    elif action.type is float:
        wanted, fits = "a number", whole or isinstance(value, float)
    else:
        # Such as layers, where "0-5" and 3 are both ranges.
        wanted, fits = "a text", isinstance(value, str) or (whole and action.type is not None)
    if not fits:
        raise SettingsError(f"{key}: {_shown(value)} is not {wanted}")
    if "\0" in str(value):
        raise SettingsError(f"{key}: there is a NUL character in it")
    return str(value)


def _shown(value: Any) -> str:
    """Return a value for an error, cut where it is long."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # of a number with thousands of digits
        return "this number"
    return text if len(text) <= 60 else f"{text[:57]}…"
