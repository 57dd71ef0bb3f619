"""Bad ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .making import CANARY, PROMISE, REFUSED, SECRET, UNREADABLE, Case, damaged, one
from .pickled import SYSTEM
from .zips import Entry, archive, bomb, zip64, zip64_end

NPY, NPZ = "w.npy", "w.npz"
DATA = struct.pack("<6f", *range(6))
USUAL = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def npy(
    header: str | bytes = USUAL,
    data: bytes = DATA,
    *,
    version: bytes = b"\x01\x00",
    length: int | None = None,
) -> bytes:
    """Return an array file; `length` is what it says of its header."""
    raw = header.encode("latin1", "replace") if isinstance(header, str) else header
    form = "<H" if version[0] == 1 else "<I"
    raw += b" " * (-(len(raw) + 9 + struct.calcsize(form)) % 64) + b"\n"
    head = struct.pack(
        form, (len(raw) if length is None else length) % 256 ** struct.calcsize(form)
    )
    return b"\x93NUMPY" + version + head + raw + data


def of(descr: object = "<f4", order: object = False, shape: object = (2, 3)) -> str:
    """Return a header."""
    return f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}"


VALID = npy()
PICKLED = b"\x80\x02" + SYSTEM + b"."
TWO = (
    Entry("layers.0.self_attn.q_proj.weight.npy", VALID),
    Entry("b.npy", npy(of("<f8", True, (3, 2)), bytes(48)), True),
)
VALID_NPZ = archive(*TWO)


def cases() -> Iterator[Case]:
    """Give all of them."""
    yield from damaged("array", {NPY: VALID}, NPY)
    yield from damaged("archive", {NPZ: VALID_NPZ}, NPZ)
    kinds = ((headers(), REFUSED), (_no_numbers(), UNREADABLE), (_lenient(), PROMISE))
    for files, expect in kinds:
        yield from one(NPY, files, expect)
        inside = {f"in a zip: {what}": archive(Entry("w.npy", d)) for what, d in files.items()}
        yield from one(NPZ, inside, expect)
    yield from one(NPZ, _zips())
    yield from one(NPZ, _bombs(), PROMISE)


def _no_numbers() -> dict[str, bytes]:
    """Give arrays of what is no numbers: listed with the reason why they cannot be read."""
    descrs: tuple[object, ...] = ("|O", "O", [], [("a", "<f4")], [("a", "O")], "S0", "|V4")
    return {
        **{f"descr {x!r:.20}": npy(of(x)) for x in descrs},
        "three descrs": npy(of(["<f4"] * 3)),
        "a pickled object": npy(of("|O"), PICKLED),
        "a descr twice": npy("{'descr': '<f4'," + USUAL[1:-2] + "'descr': '|O'}"),
    }


def _lenient() -> dict[str, bytes]:
    """Give headers that are read although nothing writes them."""
    return {
        "shape is a list": npy(of(shape=[2, 3])),
        "a coding": npy("# coding: rot13\n" + USUAL),
    }


def headers() -> dict[str, bytes]:
    """Give array files that contradict themselves."""
    shapes: list[object] = [(-1,), (-2, -3), (2**63,), (2**64,), (2**32, 2**32), (0, 2**63)]
    shapes += [(7,), (2, 4), (1,) * 99, (True, 6), (2.0, 3), ("2", 3), 6, None, {}, "6"]
    shapes += [(10**4000,)]
    descrs: list[object] = ["<f3", "<f4,<f4", "", "x" * 10**5, None, 4, (), {}]
    descrs += [("<f4", (2**31,)), "U999999999", "V2147483647"]
    descrs += ["<M8[ns]", "<f4\0", "\x1b[2J", "numpy.load", "f4" * 400]
    deep = "(" * 5000
    return {
        **{f"shape {x!r:.20}": npy(of(shape=x)) for x in shapes},
        **{f"descr {x!r:.20}": npy(of(x)) for x in descrs},
        **{f"order {x!r}": npy(of(order=x)) for x in ("no", None, 2, [], "")},
        "only the magic": b"\x93NUMPY",
        "no header": npy(""),
        "not a dictionary": npy("[1, 2]"),
        "a key more": npy(USUAL[:-2] + "'x': 1}"),
        "a key less": npy("{'descr': '<f4', 'shape': (2, 3)}"),
        "a call": npy(f"__import__('os').system({CANARY!r})"),
        "a call as shape": npy(USUAL.replace("(2, 3)", f"(__import__('os').system({CANARY!r}), )")),
        "a comprehension": npy(USUAL.replace("(2, 3)", "tuple(2 for _ in range(2))")),
        "a power": npy(USUAL.replace("(2, 3)", "(9**9**9,)")),
        "a product": npy(USUAL.replace("(2, 3)", "('a' * 10**12,)")),
        "a sum": npy(USUAL.replace("(2, 3)", "(2+1j, 3)")),
        "a set": npy(USUAL.replace("(2, 3)", "{2, (3, )}")),
        "a list as a key": npy(USUAL[:-2] + "[]: 1}"),
        "nested deeply": npy(USUAL.replace("(2, 3)", deep), version=b"\x02\x00"),
        "nested and closed": npy(deep + ")" * 5000, version=b"\x02\x00"),
        "nested signs": npy(USUAL.replace("(2, 3)", "-" * 9000 + "1"), version=b"\x02\x00"),
        "nested sums": npy(USUAL.replace("(2, 3)", "1" + "+1" * 5000), version=b"\x02\x00"),
        "a warning": npy(USUAL.replace("(2, 3)", "(2, 3if 1else 3)")),
        "a warning of an escape": npy(USUAL.replace("<f4", "<f4\\q")),
        "NUL": npy(USUAL + "\0"),
        "not text": npy(b"\xff\xfe" + USUAL.encode(), version=b"\x03\x00"),
        "open text": npy("{'descr': '"),
        "an open line": npy(USUAL + "\\"),
        "indented": npy("\n\t \n  " + USUAL + "\n ;"),
        **{f"version {n}": npy(version=bytes([n, 0])) for n in (0, 4, 99, 255)},
        **{f"a header of {n}": npy(length=n) for n in (0, 1, 9, 200, 2**15, 2**16 - 1)},
        **{
            f"a long header of {n}": npy(version=b"\x02\x00", length=n)
            for n in (0, 200, 2**20, 2**31, 2**32 - 1)
        },
        "a header of 20 MB": npy(USUAL + " " * 20_000_000, version=b"\x02\x00"),
        "20 MB of brackets": npy("[" + "[]," * 7_000_000 + "]", version=b"\x02\x00"),
        "cut": npy(data=DATA[:-1]),
    }


def _zips() -> dict[str, bytes]:
    good = Entry("w.npy", VALID)
    out = {
        "nothing": archive(),
        "a pickle": archive(Entry("w.pkl", PICKLED)),
        "a pickle as an array": archive(Entry("w.npy", PICKLED)),
        "two of one name": archive(good, good),
        "encrypted": archive(Entry("w.npy", VALID, central={"flags": 1}, local={"flags": 1})),
        "an unknown method": archive(Entry("w.npy", VALID, central={"method": 99})),
        "lzma": archive(Entry("w.npy", VALID, central={"method": 14}, local={"method": 14})),
        "no deflated data": archive(Entry("w.npy", VALID, central={"method": 8})),
        "a stored one that grows": archive(Entry("w.npy", VALID, central={"size": 10**9})),
        "a wrong name": archive(Entry("w.npy", VALID, local={"signature": 0})),
        "a link": archive(
            Entry("w.npy", SECRET.encode(), central={"external": 0o120777 << 16, "made_by": 0x314})
        ),
        "zip64 of 2^63": zip64("w.npy", VALID, 2**63, 2**63, 0),
        "zip64 that starts at 2^63": zip64("w.npy", VALID, len(VALID), len(VALID), 2**63),
        "zip64 below 0": zip64("w.npy", VALID, -1, -1, -1),
        "zip64 of 2^62 entries": zip64_end(VALID_NPZ, 2**62, 2**62, 0, len(VALID_NPZ)),
        "on another disk": archive(good, end={"disk": 3, "directory_disk": 3}),
    }
    for key in ("packed", "size", "offset", "name_length", "extra_length", "comment_length"):
        for n in (0, 1, 2**16 - 1, 2**31, 2**32 - 1):
            out[f"{key} {n}"] = archive(Entry("w.npy", VALID, central={key: n}))
    return {what: data for what, data in out.items() if data != archive(good)}


def _bombs() -> dict[str, bytes]:
    """Give small files that unpack to much, and names that lead out of the folder."""
    head = npy(of(shape=(2**30,)), b"")
    out = {
        "4 GB of zeros": archive(bomb("w.npy", head, 4096)),
        "4 GB in ten entries": archive(*(bomb(f"{n}.npy", head, 4096) for n in range(10))),
        "4 GB of a header": archive(
            bomb("w.npy", npy("", b"", version=b"\x02\x00", length=2**32 - 1), 4096, b" ")
        ),
        "4 GB behind the array": archive(bomb("w.npy", VALID, 4096)),
        "1 MB that says 128 bytes": archive(bomb("w.npy", VALID, 1, size=128)),
        "ten thousand empty entries": archive(*(Entry(f"{n}.npy", b"") for n in range(10_000))),
        "100,000 entries": archive(*(Entry(f"{n:x}.npy", b"") for n in range(100_000))),
        "30,000 arrays": archive(*(Entry(f"{n:x}.npy", VALID) for n in range(30_000))),
        "names that leave": archive(
            *(Entry(n, VALID) for n in ("../w.npy", "/etc/w.npy", "..\\w.npy", "C:w", "\x1b\n.npy"))
        ),
        "a name of 60 KB": archive(Entry("n" * 60_000 + ".npy", VALID)),
        "a name that is not text": archive(Entry(b"\xff\xfe.npy", VALID)),
        "one of two spellings": archive(Entry("w.npy", VALID), Entry("w", VALID)),
        "no name": archive(Entry("", VALID)),
        "only an ending": archive(Entry(".npy", VALID)),
        "a folder": archive(Entry("a/", b""), Entry("a/w.npy", VALID)),
    }  # fmt: skip
    return out
