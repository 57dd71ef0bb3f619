"""Pickles, followed without running anything.

An interpreter of its own over the opcodes that Python's ``pickletools`` documents. The steps are
counted, so a pickle made to hurt ends as soon as any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .torch_machine import MARK, MAX_LINE, CutError, DamagedError, Machine, Pairs

MAX_STEPS = 1_600_000  # opcodes; a tensor takes about 35


@dataclass
class Steps:
    """How many opcodes may still be followed, of all pickles of a file together."""

    left: int = MAX_STEPS


def follow(machine: Machine, steps: Steps) -> Any:
    """Return what a pickle is: plain values, `Pairs`, and what `call` and `load` give.

    Raises
    ------
    RefusedError
        It looks up or calls something that is not allowed.
    CutError, DamagedError
        It is not a whole pickle.
    """
    data, step, left = machine.data, _STEPS, steps.left
    try:
        while left:
            left -= 1
            code = data[machine.at]
            machine.at += 1
            if code == 0x2E:  # STOP
                return machine.pop()
            step[code](machine)
    except IndexError:
        if machine.at >= len(data):
            raise CutError("the pickle has no end") from None
        raise DamagedError("it takes from an empty stack") from None
    except KeyError:
        raise DamagedError("it refers to something or has an opcode that is not there") from None
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        what = str(error) if type(error) is ValueError else "its parts do not fit together"
        raise DamagedError(what) from None
    finally:
        steps.left = left
    raise DamagedError(f"it has more than {MAX_STEPS:,} steps")


_U1, _U2, _U4 = (struct.Struct(f"<{letter}") for letter in "BHI")
_I4, _U8, _F8 = struct.Struct("<i"), struct.Struct("<Q"), struct.Struct(">d")

_Step = Callable[[Machine], None]


def _constant(value: Any) -> _Step:
    return lambda machine: machine.stack.append(value)


def _fixed(form: struct.Struct) -> _Step:
    return lambda machine: machine.stack.append(machine.number(form))


def _text(length: struct.Struct) -> _Step:
    def step(machine: Machine) -> None:
        machine.stack.append(str(machine.take(machine.number(length)), "utf-8"))

    return step


def _short_text(machine: Machine) -> None:
    """Put a text of at most 255 bytes: the commonest of all, so it is done at once."""
    begin = machine.at + 1
    machine.at = begin + machine.data[begin - 1]
    if machine.at > len(machine.data):
        raise CutError("the pickle ends in the middle of a value")
    machine.stack.append(str(machine.data[begin : machine.at], "utf-8"))


def _bytes(length: struct.Struct) -> _Step:
    return lambda machine: machine.stack.append(machine.take(machine.number(length)))


def _old_text(length: struct.Struct) -> _Step:
    """Texts of Python 2 may be bytes."""

    def step(machine: Machine) -> None:
        machine.stack.append(str(machine.take(machine.number(length)), "latin-1"))

    return step


def _tuple(count: int) -> _Step:
    def step(machine: Machine) -> None:
        values = tuple(machine.pop() for _ in range(count))
        machine.stack.append(values[::-1])

    return step


def _get(index: Callable[[Machine], int]) -> _Step:
    return lambda machine: machine.stack.append(machine.memo[index(machine)])


def _put(index: Callable[[Machine], int]) -> _Step:
    return lambda machine: machine.put(index(machine))


def _pop(machine: Machine) -> None:
    machine.stack.pop()


def _forget(machine: Machine) -> None:
    machine.pop_mark()


def _pair_up(items: list[Any]) -> Pairs:
    if len(items) % 2:
        raise ValueError("a key has no value")
    return Pairs(list(zip(items[::2], items[1::2], strict=True)))


def _list(machine: Machine) -> None:
    """Put what a mark began; a set is a list here, too."""
    machine.stack.append(machine.pop_mark())


def _one(machine: Machine) -> None:
    value = machine.pop()
    machine.append([value])


def _set_one(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.extend([key, value])


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.look_up(module, name)


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.look_up(module, name)


def _reduce(machine: Machine) -> None:
    arguments, what = machine.pop(), machine.pop()
    machine.apply(what, arguments)


def _new_with_keywords(machine: Machine) -> None:
    keywords = machine.pop()
    if type(keywords) is not Pairs or keywords:
        raise ValueError("a call has keywords")
    _reduce(machine)


def _instance(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.look_up(module, name)
    what = machine.pop()
    machine.apply(what, machine.pop_mark())


def _object(machine: Machine) -> None:
    what, *arguments = machine.pop_mark() or [None]
    machine.apply(what, arguments)


def _digits_of_memo(machine: Machine) -> int:
    return int(machine.line(10))


def _refused(what: str) -> _Step:
    return lambda machine: machine.refused(what)


def _frame(machine: Machine) -> None:
    if machine.number(_U8) > len(machine.data) - machine.at:
        machine.at = len(machine.data)
        raise CutError("the pickle ends in the middle of a frame")


def _protocol(machine: Machine) -> None:
    if machine.byte() > 5:
        raise ValueError("its protocol is not known")


_EXTENSION = _refused("something that only a program knows, by an extension code,")
_BUFFER = _refused("a buffer that is not in the file")

# Opcode → what it does; the names in capitals are those of Python's pickletools.
_STEPS: dict[int, _Step] = {
    ord("("): _constant(MARK),
    ord("0"): _pop,
    ord("1"): _forget,
    ord("2"): lambda machine: machine.stack.append(machine.stack[-1]),  # DUP
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("I"): Machine.digits,
    ord("L"): Machine.digits,
    ord("J"): _fixed(_I4),
    ord("K"): lambda machine: machine.stack.append(machine.byte()),
    ord("M"): _fixed(_U2),
    0x8A: lambda machine: machine.integer(machine.byte()),  # LONG1
    0x8B: lambda machine: machine.integer(machine.number(_I4)),  # LONG4
    ord("F"): lambda machine: machine.stack.append(float(machine.line(MAX_LINE))),
    ord("G"): _fixed(_F8),
    ord("S"): Machine.quoted,
    ord("V"): Machine.escaped,
    ord("T"): _old_text(_I4),
    ord("U"): _old_text(_U1),
    ord("X"): _text(_U4),
    0x8C: _short_text,
    0x8D: _text(_U8),
    ord("B"): _bytes(_U4),
    ord("C"): _bytes(_U1),
    0x8E: _bytes(_U8),
    0x96: _bytes(_U8),  # BYTEARRAY8
    ord("]"): lambda machine: machine.stack.append([]),
    0x8F: lambda machine: machine.stack.append([]),  # EMPTY_SET
    ord("l"): _list,
    0x91: _list,  # FROZENSET
    ord("a"): _one,
    ord("e"): lambda machine: machine.append(machine.pop_mark()),
    0x90: lambda machine: machine.append(machine.pop_mark()),  # ADDITEMS
    ord(")"): _constant(()),
    ord("t"): lambda machine: machine.stack.append(tuple(machine.pop_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("}"): lambda machine: machine.stack.append(Pairs()),
    ord("d"): lambda machine: machine.stack.append(_pair_up(machine.pop_mark())),
    ord("s"): _set_one,
    ord("u"): lambda machine: machine.extend(machine.pop_mark()),
    ord("g"): _get(_digits_of_memo),
    ord("h"): _get(Machine.byte),
    ord("j"): _get(lambda machine: int(machine.number(_U4))),
    ord("p"): _put(_digits_of_memo),
    ord("q"): _put(Machine.byte),
    ord("r"): _put(lambda machine: int(machine.number(_U4))),
    0x94: _put(lambda machine: len(machine.memo)),  # MEMOIZE
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    ord("b"): Machine.build,
    ord("i"): _instance,
    ord("o"): _object,
    0x81: _reduce,  # NEWOBJ
    0x92: _new_with_keywords,  # NEWOBJ_EX
    ord("P"): _refused("an object by an id that is a text"),
    ord("Q"): lambda machine: machine.stack.append(machine.load(machine.pop())),
    0x80: _protocol,
    0x95: _frame,
    0x82: _EXTENSION,
    0x83: _EXTENSION,
    0x84: _EXTENSION,
    0x97: _BUFFER,
    0x98: _BUFFER,
}
