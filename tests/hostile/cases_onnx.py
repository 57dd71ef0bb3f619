"""Bad ONNX files."""

from __future__ import annotations

from collections.abc import Iterator

from .making import PROMISE, SECRET, Case, Link, damaged, one
from .protobufs import (
    BYTES,
    DIMS,
    FLOATS,
    INT32S,
    LOCATION,
    NAME,
    RAW,
    SEGMENT,
    STRINGS,
    TYPE,
    VARINT,
    data,
    external,
    key,
    model,
    packed_floats,
    tensor,
    varint,
    whole,
)

FILE, BESIDE = "model.onnx", "model.onnx_data"
USUAL = (
    tensor("layers.0.self_attn.q_proj.weight"),
    tensor("b", (3,), 1, packed_floats(FLOATS, 1.0, 2.0, 3.0), raw=None),
    external(name="c", location=BESIDE, offset="8", length="24"),
)
VALID = {FILE: model(*USUAL), BESIDE: bytes(range(40))}


def cases() -> Iterator[Case]:
    """Give all of them."""
    yield from damaged("file", VALID, FILE, cut=PROMISE)
    yield from one(FILE, _walks(), PROMISE)
    yield from one(FILE, _tensors())
    yield from _beside()


def _nested(wrap: int, inside: int, times: int) -> bytes:
    """Return graphs in attributes of nodes of graphs; built from the inside."""
    parts: list[bytes] = []
    size = 0
    for _ in range(times):
        for number in (inside, 5, wrap):
            head = key(number, BYTES) + varint(size)
            parts.append(head)
            size += len(head)
    return b"".join(reversed(parts))


def _walks() -> dict[str, bytes]:
    """Give what is no sequence of fields, or one without end."""
    good = model(*USUAL[:2])
    return {
        "only zeros": bytes(99),
        "only ones": b"\xff" * 99,
        "a number of 11 bytes": b"\x08" + b"\xff" * 10 + b"\x01" + good,
        "a number of a megabyte": b"\x08" + b"\x80" * 10**6 + b"\x01" + good,
        "a number that does not end": good + b"\x08\xff",
        "field 0": good + b"\x02\x00",
        "a large field": key(2**29 - 1, VARINT) + b"\x00" + good,
        "a field that overflows": varint(2**63) + b"\x00" + good,
        **{f"wire type {n}": bytes([8 | n]) + good for n in (3, 4, 6, 7)},
        "groups in groups": b"\x0b" * 10**6 + b"\x0c" * 10**6,
        **{f"a graph of {n}": key(7, BYTES) + varint(n) + good for n in (2**31, 2**63, 2**64 - 1)},
        **{f"a text of {n}": key(2, BYTES) + varint(n) + good for n in (2**31, 2**63, 2**64 - 1)},
        "the graph is a number": whole(7, 5),
        "an initialiser is a number": model(graph=whole(5, 5)),
        "a million small fields": model(*USUAL[:1], tail=whole(1, 8) * 1_000_000),
        "a million empty initialisers": model(graph=data(5, b"") * 1_000_000),
        "two graphs": model(USUAL[0]) + model(USUAL[1]),
        "graphs in graphs": model(*USUAL[:1], graph=_nested(1, 6, 50_000)),
        "a large tensor in a node": model(
            *USUAL[:1], graph=data(1, data(4, "Constant") + data(5, data(5, tensor())))
        ),
        "sparse": model(*USUAL[:1], graph=data(15, data(1, tensor("s")) + whole(3, 2**62))),
        "no graph": whole(1, 8) + data(2, "test"),
        "no initialiser": model(),
        "a name twice": model(USUAL[0], USUAL[0]),
        "no name": model(tensor("")),
        "a name that is not text": model(tensor(b"\xff\xfe")),
        "a name that writes on the terminal": model(tensor("\x1b[2J\n/../x")),
        "a name of a megabyte": model(tensor("n" * 10**6)),
        "a name as a number": model(whole(NAME, 5) + tensor()),
        "ten names": model(tensor("w") + data(NAME, "x") * 10),
        "a comment of 20 MB": model(*USUAL[:1], tail=data(6, b"x" * 20_000_000)),
        "an empty tensor": model(tensor("w", (0,), raw=b"")),
        "an empty but huge tensor": model(tensor("w", (0, 2**62), raw=b"")),
        "texts": model(tensor("w", (2,), 8, data(STRINGS, "a") * 2, raw=None)),
        "a segment": model(tensor("w", (2, 3), 1, data(SEGMENT, whole(1, 0) + whole(2, 2**62)))),
        "10 MB of dimensions": model(data(DIMS, b"\x01" * 10**7) + tensor("w", ())),
        "raw data twice": model(tensor() + data(RAW, bytes(24))),
        "no data": model(tensor(raw=None)),
    }


def _tensors() -> dict[str, bytes]:
    """Give tensors that their bytes do not fit."""
    shapes = ((-1, -6), (2**32, 2**32), (2**63 - 1, 2), (2**62,), (7,), (2, 4), (-1,), (1,) * 999)
    kinds = (0, 99, 2**31, 2**63, -1, 9, 10, 11, 16, 21)
    return {
        **{f"dimensions {s!r:.30}": model(tensor("w", s)) for s in shapes},
        **{f"type {n}": model(tensor("w", (2, 3), n)) for n in kinds if n not in (10, 16)},
        "type 10 with too many": model(tensor("w", (2, 3), 10)),
        "raw data of 2^62": model(data(DIMS, b"\x06") + whole(TYPE, 1) + data(RAW, b"x", 2**62)),
        "floats of 2^60": model(data(DIMS, b"\x06") + whole(TYPE, 1) + data(FLOATS, b"x", 2**60)),
        "half a float": model(tensor("w", (1,), 1, data(FLOATS, b"xyz"), raw=None)),
        "too few floats": model(tensor("w", (2,), 1, packed_floats(FLOATS, 1.0), raw=None)),
        "too few bits": model(tensor("w", (2,), 6, data(INT32S, b"\x01"), raw=None)),
        "raw data is a number": model(tensor(raw=None) + whole(RAW, 5)),
        "raw data and floats": model(tensor("w", (2, 3), 1, packed_floats(FLOATS, 1.0))),
        "an unknown place": model(tensor("w", (2, 3), 1, whole(LOCATION, 7), raw=None)),
    }


def _beside() -> Iterator[Case]:
    """Give data in other files: above, elsewhere, links, pipes, beyond their ends."""

    def of(**entries: str | bytes) -> bytes:
        return model(external(**entries))

    places = (
        *(f"../{SECRET}", f"x/../../{SECRET}", f"..\\{SECRET}", "/etc/passwd", "//host/x", ""),
        *(".", "..", "C:x", "\\\\host\\x", f"./../{SECRET}", "a\0b", "x" * 9000, "\x1b[2J\n"),
        *("file:///etc/passwd", "https://127.0.0.1:9/x", "~/x", "$HOME/x"),
    )
    for place in places:
        files = {FILE: of(location=place, length="24"), "x/y": b""}
        yield Case(f"beside at {place[:30]!r}", files, FILE)
    yield Case("beside at no text", {FILE: of(location=b"\xff\xfe")}, FILE)
    yield Case("no place", {FILE: of(offset="0")}, FILE)
    kinds = {
        "a pipe": None,
        "a device": Link("/dev/zero"),
        "a link out of the folder": Link(f"../{SECRET}"),
        "a link to a system file": Link("/etc/passwd"),
        "a link to itself": Link(BESIDE),
        "a link to nothing": Link("nothing"),
    }
    for what, content in kinds.items():
        files = {FILE: of(location=BESIDE, length="24"), BESIDE: content}
        yield Case(f"beside is {what}", files, FILE)
    through = {FILE: of(location=f"x/{SECRET}", length="24"), "x": Link("..")}
    yield Case("beside in a folder that is a link", through, FILE)
    numbers = ("-1", "17", "41", str(2**62), str(2**64), "9" * 5000, "x", "1e3", " 1 ", "1_0")
    numbers += ("٣", "0x8", "\x1b")
    for n in numbers:
        for field in ("offset", "length"):
            usual = {"location": BESIDE, "offset": "0", "length": "24"}
            files = {FILE: of(**{**usual, field: n}), BESIDE: bytes(40)}
            yield Case(f"{field} {n[:30]!r}", files, FILE)
    files = {FILE: of(location=FILE, offset="0", length="24")}
    yield Case("beside is the model itself", files, FILE, PROMISE)
