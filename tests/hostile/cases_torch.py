"""Bad PyTorch files: pickles that run something, traps for memory, zips that lie."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
from collections.abc import Iterator

from .making import CANARY, INTEGERS, PROMISE, SECRET, Case, damaged, one
from .pickled import (
    LEGACY,
    MAGIC,
    NUMBERS,
    SYSTEM,
    USUAL,
    call,
    group,
    name,
    plain,
    state,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_zip,
)
from .zips import Entry, archive, bomb, zip64, zip64_end

NAME = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"
VALID = torch_zip()
VALID_LEGACY = torch_legacy()


def cases() -> Iterator[Case]:
    """Give all of them."""
    yield from damaged("zip", {NAME: VALID}, NAME)
    yield from damaged("pickle in a zip", {NAME: USUAL}, NAME)  # no zip at all
    yield from damaged("legacy", {NAME: VALID_LEGACY}, NAME)
    for wrap, container in (("zip", torch_zip), ("legacy", torch_legacy)):
        for what, pickled in {**_runs(), **_traps()}.items():
            if wrap == "legacy" and "MB" in what:
                continue  # the same, and slow
            said = "refused|never|not allowed|not read" if what.startswith("calls") else ""
            yield Case(f"{wrap}: {what}", {NAME: container(pickled)}, NAME, says=said)
    for what, pickled in _runs().items():
        for file in (NAME, "model.pkl", "model.pt", "model.ckpt", "model.safetensors"):
            yield Case(f"{file}: {what}", {file: pickled}, file)
    yield from one(NAME, {f"zip: {what}": data for what, data in _tensors().items()})
    yield from one(NAME, {f"zip: {what}": data for what, data in _zips().items()})
    yield from one(NAME, {f"legacy: {what}": data for what, data in _legacy().items()})
    yield from one(NAME, {f"tar: {what}": data for what, data in _tars().items()})
    yield from _shards()


def calls() -> dict[str, bytes]:
    """Give every way in which a pickle can call ``os.system``: opcodes that leave the result."""
    command = text(CANARY)
    system, popen = name("os", "system"), name("subprocess", "Popen")
    stacked = text("os") + text("system") + b"\x93"
    shell = group(text("/bin/sh"), text("-c"), command)
    run = text(f"__import__('os').system({CANARY!r})")
    return {
        "calls os.system": SYSTEM,
        "calls posix.system": call(name("posix", "system"), command),
        "calls it by STACK_GLOBAL": call(stacked, command),
        "calls it by INST": b"(" + command + b"ios\nsystem\n",
        "calls it by OBJ": b"(" + system + command + b"o",
        "calls it by NEWOBJ": system + group(command) + b"\x81",
        "calls it by NEWOBJ_EX": system + group(command) + b"}\x92",
        "calls subprocess": call(popen, shell),
        "calls eval": call(name("builtins", "eval"), run),
        "calls eval as of Python 2": call(name("__builtin__", "eval"), run),
        "calls exec by getattr": call(
            call(name("builtins", "getattr"), name("builtins", "__dict__"), text("get")),
            text("exec"),
        ),
        "calls runpy": call(name("runpy", "_run_code"), run, plain({})),
        "calls a name with dots": call(text("torch") + text("_utils.os.system") + b"\x93", command),
        "calls torch's os": call(
            text("torch.serialization") + text("os.system") + b"\x93", command
        ),
        "calls numpy's loader": call(name("numpy", "load"), text(f"../{SECRET}")),
        "calls torch's loader": call(name("torch", "load"), text(f"../{SECRET}")),
        "calls torch.hub": call(name("torch.hub", "load"), text("evil/evil"), text("evil")),
        "calls open": call(name("io", "open"), text(f"../{SECRET}")),
        "calls socket": call(name("socket", "create_connection"), plain(("127.0.0.1", 9))),
        "calls by an extension code": b"\x82\x01" + group(command) + b"R",
        "calls a lookalike": call(text("оs") + text("system") + b"\x93", command),
        "calls a control character": call(
            text("\x1b[2Jos\n") + text("system\r") + b"\x93", command
        ),
        "calls a long name": call(text("o" * 10**6) + text("system") + b"\x93", command),
        "calls a text": call(text("os.system"), command),
        "calls a tensor": call(tensor(), command),
        "calls Parameter's parts": call(name("torch", "nn.os.system"), command),
        "calls partial": call(call(name("functools", "partial"), system, command)),
        "calls copyreg": call(name("copyreg", "_reconstructor"), popen, popen, shell),
        "calls a storage": call(name("torch", "FloatStorage"), plain(2**40)),
        "calls bytearray": call(name("builtins", "bytearray"), plain(2**40)),
        "calls range": call(
            name("builtins", "list"), call(name("builtins", "range"), plain(2**40))
        ),
        "calls a format": call(
            call(name("builtins", "getattr"), text("%099999999999d"), text("f"))
        ),
    }


def _runs() -> dict[str, bytes]:
    """Put the calls everywhere: as a whole, in a value, a key, a state, a shape, an id."""
    out = {what: state({"w": tensor(), "x": opcodes}) for what, opcodes in calls().items()}
    pop = state({"w": SYSTEM + b"0" + tensor()})
    hooks = name("collections", "OrderedDict") + b")R"
    built = name("torch.nn", "Module") + b")\x81" + plain({"a": 1}) + b"b"
    setstate = hooks + b"}" + text("__setstate__") + name("os", "system") + b"sb"
    return out | {
        "calls it and forgets": pop,
        "calls it as the whole": b"\x80\x02" + SYSTEM + b".",
        "calls it after the end": b"\x80\x02" + SYSTEM + b"0}.",
        "calls it as a key": b"\x80\x02}(" + SYSTEM + tensor() + b"u.",
        "calls it as a shape": state(
            {"w": call(name("torch._utils", "_rebuild_tensor_v2"), storage(), plain(0), SYSTEM)}
        ),
        "calls it as an id": state({"w": SYSTEM + b"Q"}),
        "calls it as an id of text": b"\x80\x02Pos.system\n.",
        "calls it as hooks": state({"w": tensor()[:-2] + SYSTEM + b"tR"}),
        "calls by a module's state": state({"w": built + SYSTEM + b"b"}),
        "calls by __setstate__": state({"w": tensor(), "x": setstate + text(CANARY) + b"b"}),
        "calls it as the storage's kind": state(
            {"w": tensor(group(text("storage"), SYSTEM, text("0"), text("cpu"), plain(6)) + b"Q")}
        ),
    }  # fmt: skip


def _traps() -> dict[str, bytes]:
    """Give pickles that fill the memory or the time of who follows them."""

    def long(code: bytes, form: str, size: int, content: bytes = b"x") -> bytes:
        return b"\x80\x04" + code + struct.pack(form, size) + content + b"."

    start = b"\x80\x02"
    twice = b"2\x86"  # DUP TUPLE2: each doubles what a look at all of it takes
    laughs = plain("ha") + twice * 60
    loop = b"]q\x00h\x00a"  # a list that holds itself
    return {
        "PUT far": start + b"}" + b"r" + struct.pack("<I", 2**32 - 1) + b".",
        "PUT far, as text": start + b"}p99999999999999\n.",
        "PUT negative": start + b"}p-1\n.",
        "GET of nothing": start + b"j" + struct.pack("<I", 2**32 - 1) + b".",
        "GET negative": start + b"g-1\n.",
        "many far PUTs": start + b"}" + b"".join(b"r" + struct.pack("<I", 2**31 + n * 4096) for n in range(999)) + b".",  # noqa: E501
        "BINBYTES8 of 2^62": long(b"\x8e", "<Q", 2**62),
        "BINBYTES8 of 2^33": long(b"\x8e", "<Q", 2**33),
        "BINUNICODE8 of 2^62": long(b"\x8d", "<Q", 2**62),
        "BYTEARRAY8 of 2^40": long(b"\x96", "<Q", 2**40),
        "BYTEARRAY8 of 2^34": b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b".",
        "BINBYTES of 2^32": long(b"B", "<I", 2**32 - 1),
        "BINUNICODE of 2^32": long(b"X", "<I", 2**32 - 1),
        "LONG4 of 2^31": long(b"\x8b", "<i", 2**31 - 1),
        "LONG4 negative": long(b"\x8b", "<i", -5),
        "BINSTRING negative": long(b"T", "<i", -5),
        "FRAME of 2^63": start + b"\x95" + struct.pack("<Q", 2**63) + b"}.",
        "FRAME of 2^40": start + b"\x95" + struct.pack("<Q", 2**40) + b"}.",
        "protocol 255": b"\x80\xff}.",
        "INT of a million digits": start + b"I" + b"9" * 10**6 + b"\n.",
        "LONG of a million digits": start + b"L" + b"9" * 10**6 + b"L\n.",
        "INT with underscores": start + b"I1_0\n.",
        "FLOAT of words": start + b"Fnothing\n.",
        "STRING without quotes": start + b"Sos\n.",
        "STRING with escapes": start + b"S'" + b"\\x41" * 10**5 + b"\\q'\n.",
        "UNICODE half": start + b"V\\ud800\n.",
        "UNICODE wrong": start + b"V\\u12\n.",
        "no end of a line": start + b"V" + b"x" * 10**6,
        "nothing on the stack": start + b".",
        "POP of nothing": start + b"0" * 99 + b".",
        "no mark": start + b"t.",
        "APPEND to nothing": start + b"}a.",
        "SETITEMS odd": start + b"}(" + plain(1) + b"u.",
        "SETITEM with a list": start + b"}]" + plain(1) + b"s.",
        "BUILD of a number": start + plain(1) + plain({}) + b"b.",
        "BUILD of slots": start + name("argparse", "Namespace") + b")\x81N" + plain({"__class__": 1, "__dict__": 2}) + b"\x86b.",  # noqa: E501
        "REDUCE of a number": start + plain(1) + b")R.",
        "READONLY_BUFFER": start + b"\x97\x98.",
        "an unknown opcode": start + b"\xff.",
        "nested lists": start + b"]" * 200_000 + b"a" * 199_999 + b".",
        "nested tuples": start + b")" + b"\x85" * 300_000 + b".",
        "nested dictionaries": start + b"}" + b"".join([b"}" + plain("a")] * 50_000) + b"",
        "nested state": start + plain({}) + (plain("model") + b"}" + b"").join([b""] * 9) + b".",
        "a list of itself": start + loop + b".",
        "a dictionary of itself": start + b"}q\x00" + plain("model") + b"h\x00s.",
        "doubled sixty times": start + laughs + b".",
        "doubled, as a key": start + b"}" + laughs + plain(1) + b"s.",
        "doubled, in a set": start + b"\x8f(" + laughs + b"\x90.",
        "doubled, in a frozen set": b"\x80\x04(" + laughs + b"\x91.",
        "doubled, as an id": start + laughs + b"Q.",
        "doubled, as a shape": state({"w": call(name("torch._utils", "_rebuild_tensor_v2"), storage(), plain(0), laughs, laughs)}),  # noqa: E501
        "doubled, as a name": start + b"}(" + text("x" * 999) + laughs + b"u.",
        "doubled, as a state": state({"w": tensor(), "model": laughs, "args": laughs})[:-1] + twice * 40 + b".",  # noqa: E501
        "doubled dictionaries": start + b"".join(b"}(" + plain("a") + (b"h%c" % (n - 1) if n else plain(1)) + plain("b") + (b"h%c" % (n - 1) if n else plain(1)) + b"uq%c0" % n for n in range(60)) + b"h\x3b.",  # noqa: E501
        "20 MB of empty lists": start + b"]" * 20_000_000 + b".",
        "20 MB of empty dictionaries": start + b"(" + b"}" * 20_000_000 + b"l.",
        "4 MB of marks": start + b"(" * 4_000_000 + b".",
        "4 MB of memo": start + b"}" + b"\x94" * 4_000_000 + b".",
        "5 MB of short texts": start + b"(" + b"\x8c\x01a" * 1_700_000 + b"l.",
        "5 MB of calls": start + (name("collections", "OrderedDict") + b")R") * 150_000 + b".",
        "two million ids": start + storage() * 60_000 + b".",
    }  # fmt: skip


def _tensors() -> dict[str, bytes]:
    """Give tensors that do not lie in their storages."""
    strange: list[object] = [-1, 2**63, 2**64, 2**200, 1.5, "1", None, {}, b"1"]
    lists: list[object] = [(-1, -6), (2**32, 2**32), (0, 2**63), (2**62,), (7,), (1,) * 99, ("a",)]
    files = {
        **{f"offset {x!r:.20}": tensor(offset=x) for x in strange},
        **{f"shape {x!r:.20}": tensor(shape=x, stride=x) for x in [*strange, *lists]},
        **{f"stride {x!r:.20}": tensor(stride=x) for x in [*strange, *lists]},
        **{f"numel {x!r:.20}": tensor(storage(numel=x)) for x in [*strange, 2**62, 7, 10**12]},
        "stride 2^62": tensor(shape=(2, 2), stride=(2**62, 2**62)),
        "strides that meet at 0": tensor(shape=(2**20, 2**20), stride=(0, 0)),
        "strides that overlap": tensor(shape=(2**16, 2**16), stride=(1, -1)),
        "2^50 of one number": tensor(shape=(2**50,), stride=(0,)),
        "a storage that is not there": tensor(storage("1")),
        "a storage outside": tensor(storage(f"../../{SECRET}")),
        "a storage that is the pickle": tensor(storage("../data.pkl")),
        "a storage of no name": tensor(storage("")),
        "a storage named with NUL": tensor(storage("0\0")),
        "an unknown storage": tensor(storage(dtype="EvilStorage")),
        "quantised": tensor(storage(dtype="QInt8Storage"), rebuild=name("torch._utils", "_rebuild_qtensor")),  # noqa: E501
        "an id that is a text": text("0") + b"Q",
        "an id of two parts": group(text("storage"), text("0")) + b"Q",
        "an id that is no storage": group(*[text("x")] * 5) + b"Q",
        "a tensor of no storage": tensor(plain(5)),
        "a call without arguments": call(name("torch._utils", "_rebuild_tensor_v2")),
        "a call with too many": call(name("torch._utils", "_rebuild_tensor_v2"), *[plain(1)] * 99),
        "a parameter of a number": call(name("torch._utils", "_rebuild_parameter"), plain(1)),
        "a name that is a number": tensor(),
    }  # fmt: skip
    whole = {what: torch_zip(state({"w": one})) for what, one in files.items()}
    whole["a name that is a number"] = torch_zip(b"\x80\x02}(" + plain(1) + plain(2) + b"u.")
    whole["a name of a megabyte over a thousand"] = torch_zip(_wide(1, 10**6))
    whole["long names in long names"] = torch_zip(_wide(60, 10**4))
    whole["no tensor"] = torch_zip(state({"w": plain(1)}))
    whole["a number"] = torch_zip(b"\x80\x02K\x01.")
    whole["a storage too short"] = torch_zip(storages={"0": NUMBERS[:-1]})
    whole["a storage too long"] = torch_zip(storages={"0": NUMBERS + b"x"})
    whole["no storage"] = torch_zip(storages={})
    return whole


def _wide(depth: int, length: int) -> bytes:
    """Return a pickle of 4,000 times one tensor, below names that are long together."""
    again = b"h\x00"
    into = text("x" * length) + b"}(" + text("b.w") + again
    many = b"".join(text(f"{n}.w") + again for n in range(4000))
    first, ends = text("a.w") + tensor() + b"q\x00", b"u" * (depth + 2) + b"."
    return b"\x80\x02}(" + first + into * depth + text("c") + b"}(" + many + ends


def _zips() -> dict[str, bytes]:
    """Give archives that contradict themselves."""

    def other(central: dict[str, int], **local: int) -> bytes:
        return archive(Entry("archive/data.pkl", USUAL, local=local, central=central), numbers)

    def two(above: str) -> bytes:
        return archive(Entry(f"{above}data.pkl", USUAL), Entry(f"{above}data/0", NUMBERS))

    pkl, numbers = Entry("archive/data.pkl", USUAL), Entry("archive/data/0", NUMBERS)
    link = {"external": 0o120777 << 16, "made_by": 0x314}
    huge = bomb("archive/data.pkl", b"\x80\x02", 4096, b"]")
    out = {
        "a bomb in the pickle": archive(huge, numbers),
        "a bomb that says 5 bytes": archive(
            bomb("archive/data.pkl", b"\x80\x02", 512, b"]", size=5), numbers
        ),
        "a bomb in a storage": torch_zip(
            state({"w": tensor(storage(numel=2**30), shape=(2**30,), stride=(1,))}),
            bomb("archive/data/0", b"", 4096),
            storages={},
        ),
        "a squeezed pickle": archive(Entry("archive/data.pkl", USUAL + b"x", True), numbers),
        "no pickle": archive(numbers),
        "nothing": archive(),
        "two pickles": archive(pkl, Entry("archive/data.pkl", SYSTEM), numbers),
        "two folders": archive(pkl, numbers, Entry("other/data.pkl", USUAL)),
        "two storages": archive(pkl, numbers, Entry("archive/data/0", bytes(24))),
        "an entry above": two("../"),
        "an absolute entry": two("/tmp/x/"),
        "an entry of Windows": two("..\\a\\"),
        "a link as the storage": archive(
            pkl, Entry("archive/data/0", SECRET.encode(), central=link)
        ),
        "encrypted": other({"flags": 1}),
        "an unknown method": other({"method": 99}),
        "bzip2": other({"method": 12}),
        "names differ": other({}, name_length=3),
        "no local header": other({}, signature=0),
        "a name that is not text": archive(Entry(b"\xff\xfe/data.pkl", USUAL), numbers),
        "a wrong sum": other({"crc": 1}),
        "only a name": archive(Entry("archive/data.pkl", b""), numbers),
        "zip64 of 2^63": zip64("archive/data.pkl", USUAL, 2**63, 2**63, 0),
        "zip64 that starts at 2^63": zip64("archive/data.pkl", USUAL, 99, 99, 2**63),
        "zip64 below 0": zip64("archive/data.pkl", USUAL, -1, -1, -1),
        "zip64 of 2^62 entries": zip64_end(VALID, 2**62, 2**62, 0, len(VALID)),
        "zip64 of itself": zip64_end(b"", 1, 46, 0, 0),
        "zip64 behind the end": zip64_end(VALID, 1, 46, 2**60, 2**60),
        "on another disk": archive(pkl, numbers, end={"disk": 3, "directory_disk": 3}),
    }  # fmt: skip
    for key in ("here", "count", "directory_size", "directory_offset", "comment_length"):
        for n in (0, 1, 77, 2**16 - 1, 2**32 - 1):
            out[f"end: {key} {n}"] = archive(pkl, numbers, end={key: n})
    for key in ("packed", "size", "offset", "name_length", "extra_length", "comment_length"):
        for n in (0, 1, 2**16 - 1, 2**31, 2**32 - 1):
            out[f"{key} {n}"] = archive(pkl, Entry("archive/data/0", NUMBERS, central={key: n}))
    return {what: data for what, data in out.items() if data != archive(pkl, numbers)}


def _legacy() -> dict[str, bytes]:
    """Give files of before 1.6 whose parts do not fit."""
    out = {
        f"numel {n}": torch_legacy(storages=struct.pack("<q", n) + NUMBERS)
        for n in (-1, 0, 5, 7, 2**31, 2**62, -(2**63))
    }
    keys: tuple[object, ...] = ([], ["1"], ["0", "0"], {"0": 1}, "0", None, [1], ["../0"], 0)
    out |= {f"keys {k!r}": torch_legacy(keys=pickle.dumps(k, 2)) for k in keys}
    return out | {
        "another magic number": torch_legacy(magic=MAGIC + 1),
        "magic of a thousand digits": torch_legacy(magic=10**1000),
        "another protocol": torch_legacy(protocol=1000),
        "protocol is a list": torch_legacy(protocol=[1001]),
        "other ends of numbers": torch_legacy(system={"little_endian": False}),
        "no system": torch_legacy(system=[]),
        "calls os.system in the keys": torch_legacy(keys=b"\x80\x02" + SYSTEM + b"."),
        "calls os.system in the head": b"\x80\x02" + SYSTEM + b"." + VALID_LEGACY,
        "the pickle alone": LEGACY,
        "keys of 4 MB": torch_legacy(keys=b"\x80\x02" + b"]" * 4_000_000),
        "bytes left": VALID_LEGACY + bytes(99),
        "long pickles": _long_pickles(1),
        "long pickles, and then cut": _long_pickles(8) + b"\x80\x02" + bytes(9_000_000),
    }


def _long_pickles(padding: int) -> bytes:
    """Return four pickles of a million steps each, and bytes for nothing between the steps."""
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2)
    one = b"\x80\x02" + (b"U" + bytes([padding]) + b"x" * padding + b"0") * 500_000 + b"}."
    return head + one * 4


def _tars() -> dict[str, bytes]:
    """Give archives of the oldest kind, with entries that leave the folder."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for path in ("storages", "tensors", "pickle", "../out", "/tmp/out"):
            info = tarfile.TarInfo(path)
            info.size = len(SYSTEM)
            tar.addfile(info, io.BytesIO(SYSTEM))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{SECRET}"
        tar.addfile(link)
    return {"with links": held.getvalue(), "cut": held.getvalue()[:700]}


def _shards() -> Iterator[Case]:
    def index(weight_map: object) -> bytes:
        return json.dumps({"weight_map": weight_map}).encode()

    good = {"w": "one.bin"}
    one_bin = torch_zip(state({"w": tensor()}))
    yield from damaged("index", {INDEX: index(good), "one.bin": one_bin}, INDEX)
    yield Case("a shard is missing", {INDEX: index(good)}, INDEX)
    yield Case("a shard above", {INDEX: index({"w": f"../{SECRET}"})}, INDEX)
    evil = {INDEX: index(good), "one.bin": torch_zip(state({"w": SYSTEM}))}
    yield Case("calls os.system in a shard", evil, INDEX, says="refused|never|system")
    yield Case("a shard without the tensor", {INDEX: index({"z": "one.bin"}), "one.bin": one_bin})
    unused = {"training_args.bin": torch_zip(state({"w": SYSTEM})), "pytorch_model.bin": one_bin}
    yield Case("evil beside the model", unused, "", PROMISE)
    for number in INTEGERS[:3]:
        yield Case(f"a map of {number}", {INDEX: index({"w": number})}, INDEX)
