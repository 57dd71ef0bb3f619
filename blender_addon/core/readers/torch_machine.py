"""The machine that a pickle runs on here: a stack, a memo, and nothing that can do anything.

It imports nothing and calls nothing: what a pickle looks up must be on a list, and what it "calls"
becomes a plain value or an inert stand-in. Nothing is hashed, and no index makes memory.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..text import printable

_MAX_INTEGER = 64  # bytes; the states of random generators have 17
MAX_LINE = 4_000  # characters of a number written in digits
_MAX_MEMO = 1 << 32
_MAX_ARGUMENTS = 16  # of a call; the longest has 8


class DamagedError(Exception):
    """The bytes are not a pickle; the message says why."""


class CutError(DamagedError):
    """The pickle goes on after the bytes that are there."""


class RefusedError(Exception):
    """The pickle wants something that is not allowed; the message says what."""


@dataclass(frozen=True, slots=True)
class Name:
    """Something to be imported, by its name; nothing is imported."""

    text: str


class Pairs(list[Any]):
    """A dictionary, or the attributes of a plain object: pairs of a key and a value, not hashed.

    Where the pickle makes a dictionary of a list, it is whatever that holds.
    """

    __slots__ = ()


Allowed = Callable[[str], bool]
Call = Callable[[str, tuple[Any, ...]], Any]
Load = Callable[[Any], Any]

MARK = object()


def refuse_call(what: str) -> RefusedError:
    """Return the error for a call that is not allowed."""
    ours = what.partition(".")[0] in sys.stdlib_module_names
    instead = "" if ours or "." not in what else "; save the state_dict() of a model, not the model"
    return RefusedError(f"it wants to call {what} when it is opened; it is refused{instead}")


class Machine:
    """Reads one pickle in a buffer, and keeps what it has made so far.

    Parameters
    ----------
    data : bytes
    at : int
        Where the pickle begins; afterwards, where it has ended.
    allowed
        Whether a name (``"torch._utils._rebuild_tensor_v2"``) may be looked up.
    call
        What calling such a name gives; a ValueError where the arguments are wrong.
    load
        What a persistent id stands for; a ValueError where it is wrong.
    """

    def __init__(self, data: bytes, at: int, allowed: Allowed, call: Call, load: Load) -> None:
        self.data, self.at = data, at
        self.allowed, self.call, self.load = allowed, call, load
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    # --- reading ---

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        begin = self.at
        if count < 0 or count > len(self.data) - begin:
            self.at = len(self.data) if count >= 0 else begin
            raise CutError("the pickle ends in the middle of a value")
        self.at = begin + count
        return self.data[begin : self.at]

    def byte(self) -> int:
        """Return the next byte."""
        at = self.at
        self.at = at + 1
        return self.data[at]

    def number(self, form: struct.Struct) -> Any:
        """Return the next number."""
        return form.unpack(self.take(form.size))[0]

    def raw_line(self) -> bytes:
        """Return the bytes up to the end of a line."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            self.at = len(self.data)
            raise CutError("the pickle ends in the middle of a line")
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    def line(self, limit: int | None = None) -> str:
        """Return the text up to the end of a line; a number has at most `limit` digits."""
        line = self.raw_line()
        if limit is not None and len(line) > limit:
            raise ValueError(f"it has a number of {len(line):,} digits")
        return line.decode("utf-8")

    def pop(self) -> Any:
        """Return what was put last."""
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("it takes a mark for a value")
        return value

    def pop_mark(self) -> list[Any]:
        """Return what was put since the last mark."""
        stack = self.stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is MARK:
                values = stack[at + 1 :]
                del stack[at:]
                return values
        raise ValueError("it refers to a mark that is not there")

    # --- what opcodes do ---

    def put(self, index: int) -> None:
        """Remember what was put last."""
        if not 0 <= index < _MAX_MEMO:
            raise ValueError("it remembers a value under a number that no pickle has")
        self.memo[index] = self.stack[-1]

    def integer(self, length: int) -> None:
        """Put a whole number of some bytes."""
        if not 0 <= length <= _MAX_INTEGER:
            raise ValueError(f"it has a whole number of {length:,} bytes")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def digits(self) -> None:
        """Put a whole number, or a truth, written in digits."""
        line = self.line(MAX_LINE)
        truths = {"00": False, "01": True}
        plain = line.removesuffix("L").removeprefix("-")
        if not (plain.isascii() and plain.isdigit()) or len(plain) > 2 * _MAX_INTEGER:
            raise ValueError(f"{printable(line, 40)} is not a number that it can have")
        self.stack.append(truths[line] if line in truths else int(line.removesuffix("L")))

    def quoted(self) -> None:
        """Put a text between quotes."""
        line = self.line()
        if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"" or "\\" in line:
            raise ValueError("it has a text with escapes or without quotes")
        self.stack.append(line[1:-1])

    def escaped(self) -> None:
        r"""Put a text with \u escapes."""
        text = self.raw_line().decode("raw-unicode-escape")
        text.encode("utf-8")  # half of a surrogate pair cannot be printed
        self.stack.append(text)

    def look_up(self, module: Any, name: Any) -> None:
        """Put a name, if that may be looked up."""
        if type(module) is not str or type(name) is not str:
            raise refuse_call("something that has no name")
        text = f"{module}.{name}"
        if not self.allowed(text):
            raise refuse_call(printable(text))
        self.stack.append(Name(text))

    def apply(self, what: Any, arguments: Any) -> None:
        """Put what a call gives."""
        if type(what) is not Name:
            raise refuse_call(f"a {type(what).__name__}")
        if type(arguments) not in (list, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise ValueError(f"a call's arguments are not a list of at most {_MAX_ARGUMENTS}")
        self.stack.append(self.call(what.text, tuple(arguments)))

    def extend(self, items: list[Any]) -> None:
        """Put keys and values into what was put last."""
        target = self.stack[-1]
        if len(items) % 2:
            raise ValueError("a key has no value")
        if type(target) is not Pairs:
            raise ValueError("it puts a key into something that has none")
        target.extend(zip(items[::2], items[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        """Put values into the list that was put last."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Pairs:  # a list with attributes: what it holds is left out
            raise ValueError("it adds to something that is not a list")

    def build(self) -> None:
        """Give what was put last its attributes; of a dictionary they are left out."""
        state = self.pop()
        if type(self.stack[-1]) is not Pairs:
            raise ValueError("it gives attributes to something that has none")
        if type(state) is Pairs and not self.stack[-1]:
            self.stack[-1] = state

    def refused(self, what: str) -> None:
        """Refuse an opcode."""
        raise RefusedError(f"it wants {what} when it is opened; it is refused")
