"""Bad GGUF files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .ggufs import (
    ARRAY,
    BLOCK,
    BOOL,
    F32,
    PARTS,
    STRING,
    U8,
    U16,
    U32,
    U64,
    USUAL,
    Part,
    array,
    entry,
    gguf,
    text,
    value,
)
from .making import INTEGERS, PROMISE, REFUSED, Case, Link, damaged, one

NAME = "model.gguf"
VALID = gguf().rstrip(b"\0")  # without what fills up the last tensor


def cases() -> Iterator[Case]:
    """Give all of them."""
    yield from damaged("file", {NAME: VALID}, NAME)
    yield from one(NAME, _heads())
    yield from one(NAME, {f"metadata: {what}": data for what, data in _metadata().items()})
    yield from one(NAME, {f"tensor: {what}": data for what, data in _tensors().items()})
    yield from one(NAME, _numbers(), PROMISE)
    yield from _split()


def _heads() -> dict[str, bytes]:
    counts = (2**63, 2**64 - 1, 2**60, 2**32, 10**6, 5)
    return {
        "only the magic": b"GGUF",
        "another magic": gguf(magic=b"GGUG"),
        "the old magic": gguf(magic=b"ggml"),
        **{f"version {n}": gguf(version=n) for n in (0, 1, 4, 99, 2**32 - 1, 3 << 24)},
        **{f"{n} tensors": gguf(counts=(n, None)) for n in counts},
        **{f"{n} keys": gguf(counts=(None, n)) for n in counts if n != 5},
        "both": gguf(counts=(2**62, 2**62)),
    }


def _metadata() -> dict[str, bytes]:
    def of(kind: int, content: object, key: str = "x.y") -> bytes:
        return gguf(entries=(*USUAL, entry(key, kind, content)))

    nested = struct.pack("<IQ", ARRAY, 1) * 100_000 + struct.pack("<IQ", U8, 0)
    wide = b"".join(array(ARRAY, [], 0) for _ in range(3))
    lengths = (2**60, 2**63, 2**64 - 1, 2**32, 10**9)
    long = dict.fromkeys(lengths)
    aligned = "general.alignment"
    return {
        **{f"a text of {n} bytes": of(STRING, text("x", n)) for n in long},
        **{f"a key of {n} bytes": gguf(entries=(text("x", n), *USUAL)) for n in long},
        **{f"a list of {n} numbers": of(ARRAY, array(U8, b"x", n)) for n in long},
        **{f"a list of {n} texts": of(ARRAY, array(STRING, text(""), n)) for n in long},
        **{f"a list of {n} lists": of(ARRAY, array(ARRAY, array(U8, b""), n)) for n in long},
        **{f"type {n}": of(n, b"x") for n in (13, 99, 2**31, 2**32 - 1)},
        **{f"a list of type {n}": of(ARRAY, array(n, b"x", 1)) for n in (13, 2**32 - 1)},
        "lists in lists": of(ARRAY, nested),
        "wide lists in lists": of(ARRAY, array(ARRAY, wide, 2**40)),
        "a key twice": gguf(entries=(*USUAL, USUAL[0])),
        "a key that is not text": gguf(entries=(*USUAL, entry(b"\xff\xfe", U8, 1))),
        **{f"alignment {n}": of(U32, n, aligned) for n in (0, 3, 12, 2**31, 2**32 - 1)},
        "alignment of 2^62": of(U64, 2**62, aligned),
        "alignment is a text": of(STRING, "32", aligned),
        "alignment is a list": of(ARRAY, array(U32, [32]), aligned),
    }


def _numbers() -> dict[str, bytes]:
    """Give files whose metadata is well formed, but no model can have it."""
    out = {
        "no tensor": gguf(counts=(0, 0), entries=())[:24],
        "a truth of 2": gguf(entries=(*USUAL, entry("x.y", BOOL, b"\x02"))),
        "a text that is not text": gguf(entries=(*USUAL, entry("x.y", STRING, text(b"\xff\0")))),
        "alignment of 1": gguf(entries=(*USUAL, entry("general.alignment", U32, 1)), alignment=1),
        "a name that writes on the terminal": gguf(
            entries=(*USUAL[:1], entry("general.name", STRING, "\x1b[2J\n/../x"), *USUAL[2:])
        ),
        "a name of a megabyte": gguf(
            entries=(*USUAL[:1], entry("general.name", STRING, "n" * 10**6))
        ),
        "a million empty tokens": gguf(
            entries=(*USUAL[:6], entry("tokens", ARRAY, array(STRING, bytes(8 * 10**6), 10**6)))
        ),
        "ten million scores": gguf(
            entries=(*USUAL[:6], entry("scores", ARRAY, array(F32, bytes(4 * 10**7), 10**7)))
        ),
        "150,000 tensors": gguf(
            *(Part(f"{n:x}", (0,), 0, b"", 0) for n in range(150_000)), entries=()
        ),
        "10,000 keys": gguf(entries=tuple(entry(f"{n:x}", U8, 1) for n in range(10_000))),
        "4,000 keys": gguf(entries=tuple(entry(f"k{n}", U8, 1) for n in range(4_000))),
        "the architecture is a number": gguf(entries=(entry("general.architecture", U32, 1),)),
        "the architecture is a path": gguf(
            entries=(entry("general.architecture", STRING, "../\x1b/x"), *USUAL[1:])
        ),
        "the name is a list": gguf(
            entries=(*USUAL[:1], entry("general.name", ARRAY, array(U8, [1])))
        ),
    }
    for key in ("block_count", "embedding_length", "attention.head_count", "attention.key_length"):
        for n in INTEGERS:
            out[f"{key} {n}"] = gguf(entries=(*USUAL, entry(f"llama.{key}", U64, n)))
        out[f"{key} is a text"] = gguf(entries=(*USUAL[:2], entry(f"llama.{key}", STRING, "4")))
        lists = array(U32, [4] * 5)
        out[f"{key} is a list"] = gguf(entries=(*USUAL[:2], entry(f"llama.{key}", ARRAY, lists)))
        out[f"{key} is NaN"] = gguf(
            entries=(*USUAL[:2], entry(f"llama.{key}", F32, b"\x00\x00\xc0\x7f"))
        )
    return out


def _tensors() -> dict[str, bytes]:
    def dims(*numbers: int, kind: int = 0) -> bytes:
        return gguf(Part("w", numbers, kind))

    return {
        **{f"type {n}": gguf(Part("w", (4, 2), n)) for n in (4, 5, 99, 2**31, 2**32 - 1)},
        **{f"{n} dimensions": gguf(Part("w", dim_count=n)) for n in (99, 2**31, 2**32 - 1)},
        "too large": dims(2**32, 2**32),
        "too large by one": dims(4, 3),
        "2^63": dims(2**63),
        "-1": dims(-1, -8),
        "2^64 - 1 in a block type": dims(2**64 - 32, kind=2),
        "empty but huge": dims(0, 2**63),
        **{f"half a block of type {n}": dims(31, 2, kind=n) for n in BLOCK if n > 1},
        **{
            f"offset {n}": gguf(Part("w", offset=n))
            for n in (-1, -32, 1, 31, 32, 2**32, 2**62, 2**63, 2**64 - 32)
        },
        "two at one place": gguf(Part("a"), Part("b", offset=0)),
        "one in another": gguf(Part("a", (16, 4), 0, bytes(256)), Part("b", offset=32)),
        "a name twice": gguf(Part("a"), Part("a")),
        "a name that is not text": gguf(Part(b"\xff\xfe")),
        "cut by a byte": VALID[:-1],
        "no tensors' data": gguf(*(Part(p.name, p.dims, p.type, b"") for p in PARTS)),
    }


def _split() -> Iterator[Case]:
    def part(number: object, count: object, tensors: object, name: str, **kinds: int) -> bytes:
        keys = {"no": (U16, number), "count": (U16, count), "tensors.count": (U32, tensors)}
        entries = tuple(
            entry(f"split.{key}", kind, content) for key, (kind, content) in keys.items()
        )
        return gguf(Part(name), entries=(*USUAL, *entries))

    first, second = "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"
    good = {first: part(0, 2, 2, "a"), second: part(1, 2, 2, "b")}
    yield from damaged("part", good, second, opened=first)
    yield Case("a part is missing", {first: good[first]}, first)
    yield Case("parts of one number", {first: good[first], second: good[first]}, first)
    yield Case("a tensor in both", {first: good[first], second: part(1, 2, 2, "a")}, first)
    yield Case("a part is a pipe", {first: good[first], second: None}, first)
    yield Case("a part is a device", {first: good[first], second: Link("/dev/zero")}, first)
    yield Case("a part is elsewhere", {first: good[first], second: Link("/etc/passwd")}, first)
    for at, count in ((1, 99999), (0, 0), (2, 1), (99999, 99999), (1, 0)):
        name = f"m-{at:05}-of-{count:05}.gguf"
        yield Case(f"part {at} of {count}", {name: part(0, 2, 2, "a")}, name)
    for no, count, tensors in ((0, 65535, 2), (5, 2, 2), (0, 2, 2**32 - 1)):
        files = {**good, first: part(no, count, tensors, "a")}
        yield Case(f"says {no} of {count} with {tensors}", files, first)
    strange = gguf(Part("a"), entries=(*USUAL, entry("split.count", STRING, value(STRING, "x"))))
    yield Case("the count is a text", {first: strange, second: good[second]}, first, PROMISE)
    yield Case("a part alone", {"m.gguf": good[first]}, "m.gguf", REFUSED)
