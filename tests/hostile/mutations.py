"""Strategies of hypothesis: valid files with changes in their bytes or their structure."""

from __future__ import annotations

import json
import pickle
import pickletools
from collections.abc import Callable
from math import prod
from typing import Any

from hypothesis import strategies as st

from . import cases_adapters as adapters
from . import cases_arrays as arrays
from . import cases_gguf as gguf
from . import cases_onnx as onnx
from . import cases_packed as packs
from . import cases_safetensors as safetensors
from . import cases_torch as torch
from . import ggufs, pickled, zips
from .making import INTEGERS, Files, floats, packed, stored
from .protobufs import key, varint

Example = tuple[Files, str]  # files, and which is opened
Draw = Callable[[st.SearchStrategy[Any]], Any]

WHOLE = st.sampled_from((*INTEGERS, *(-n for n in INTEGERS[:12]))) | st.integers(0, 300)
SCALAR = (
    st.none() | st.booleans() | WHOLE | st.sampled_from((1.5, 1e308, -1e308, 2**70, "", "8"))
    | st.text(max_size=4)
)  # fmt: skip
ANY = st.recursive(
    SCALAR, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3)
)
SHAPE = st.lists(st.integers(0, 4), max_size=3) | st.lists(WHOLE, max_size=3)
# Valid files of each format: all files, the one to damage, what is opened.
SEEDS: dict[str, tuple[tuple[Files, str, str], ...]] = {
    "safetensors": (
        ({safetensors.NAME: safetensors.VALID}, safetensors.NAME, safetensors.NAME),
        (safetensors.SHARDS, safetensors.INDEX, safetensors.INDEX),
    ),
    "torch": (
        ({torch.NAME: torch.VALID}, torch.NAME, torch.NAME),
        ({torch.NAME: torch.VALID_LEGACY}, torch.NAME, torch.NAME),
    ),
    "gguf": (({gguf.NAME: gguf.VALID}, gguf.NAME, gguf.NAME),),
    "arrays": (
        ({arrays.NPY: arrays.VALID}, arrays.NPY, arrays.NPY),
        ({arrays.NPZ: arrays.VALID_NPZ}, arrays.NPZ, arrays.NPZ),
    ),
    "onnx": ((onnx.VALID, onnx.FILE, onnx.FILE),),
    "adapters": (
        (adapters.VALID, adapters.TENSORS, ""),
        (adapters.VALID, adapters.CONFIG, ""),
    ),
    "packed": tuple((files, packs.NAME, "") for files in packs.VALID.values()),
}
MAGIC = {
    "safetensors": b"",
    "torch": b"PK\x03\x04",
    "gguf": b"GGUF\x03\0\0\0",
    "arrays": b"\x93NUMPY\x01\0",
    "onnx": b"\x08\x08\x3a",
    "adapters": b"",
    "packed": b"",
}


def _patch(draw: Draw, data: bytearray) -> None:
    """Change one thing in the bytes."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    kind = draw(st.sampled_from(("bit", "number", "number", "bytes", "insert", "drop", "repeat")))
    if kind == "bit" and data:
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "number":
        width = draw(st.sampled_from((1, 2, 4, 8)))
        order = draw(st.sampled_from(("little", "little", "big")))
        new = (draw(WHOLE) % 256**width).to_bytes(width, order)
        data[at : at + width] = new
    elif kind == "bytes":
        new = draw(st.binary(max_size=4))
        data[at : at + len(new)] = new
    elif kind == "insert":
        data[at:at] = draw(st.binary(max_size=9))
    elif kind == "drop":
        del data[at : at + draw(st.integers(1, 40))]
    else:
        data[at:at] = data[at : at + draw(st.integers(1, 40))]


@st.composite
def bytes_changed(draw: Draw, form: str) -> Example:
    """Change a valid file's bytes at one to four places."""
    files, name, opened = draw(st.sampled_from(SEEDS[form]))
    data = bytearray(files[name])
    for _ in range(draw(st.integers(1, 4))):
        _patch(draw, data)
    return {**files, name: bytes(data)}, opened


@st.composite
def only_noise(draw: Draw, form: str) -> Example:
    """Put noise behind the format's first bytes."""
    files, name, opened = draw(st.sampled_from(SEEDS[form]))
    return {**files, name: MAGIC[form] + draw(st.binary(max_size=200))}, opened


def _tree(draw: Draw, node: Any, depth: int = 0) -> Any:
    """Change one thing in a tree of JSON."""
    if draw(st.integers(0, 3)) == 0 and depth:
        return draw(ANY)
    if isinstance(node, dict) and node:
        name = draw(st.sampled_from(sorted(node)))
        kind = draw(st.sampled_from(("in", "in", "in", "rename", "drop")))
        if kind == "in":
            return {**node, name: _tree(draw, node[name], depth + 1)}
        left = {key: value for key, value in node.items() if key != name}
        return left if kind == "drop" else {**left, draw(st.text(max_size=5)): node[name]}
    if isinstance(node, list) and node:
        at = draw(st.integers(0, len(node) - 1))
        return [*node[:at], _tree(draw, node[at], depth + 1), *node[at + 1 :]]
    return draw(ANY)


def _changed(draw: Draw, text: bytes) -> bytes:
    tree = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        tree = _tree(draw, tree)
    return json.dumps(tree).encode()


@st.composite
def safetensors_changed(draw: Draw) -> Example:
    """Change entries of a header, or an index."""
    if draw(st.integers(0, 3)) == 0:
        index = _changed(draw, safetensors.SHARDS[safetensors.INDEX])
        return {**safetensors.SHARDS, safetensors.INDEX: index}, safetensors.INDEX
    if draw(st.integers(0, 3)) == 0:
        config = _changed(draw, json.dumps(safetensors.CONFIG).encode())
        files = {safetensors.NAME: stored(safetensors.HEADS), "config.json": config}
        return files, ""
    length = int.from_bytes(safetensors.VALID[:8], "little")
    header, data = safetensors.VALID[8 : 8 + length], safetensors.VALID[8 + length :]
    whole = packed(_changed(draw, header), data)
    return {safetensors.NAME: whole}, safetensors.NAME


def _opcodes(data: bytes) -> list[bytes]:
    """Cut a pickle into its opcodes."""
    places = [at for _, _, at in pickletools.genops(data)]
    return [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]


EXTRA = (
    *torch.calls().values(),
    *(op.code.encode("latin1") for op in pickletools.opcodes if op.arg is None),
    *(pickle.dumps(x, 2)[2:-1] for x in (0, -1, 2**63, 1.5, "x", b"x", (), [], {}, {1: 2}, None)),
    *(code + n.to_bytes(4, "little") for code in (b"r", b"j", b"X", b"B") for n in (0, 9, 2**31)),
    *(code + n.to_bytes(8, "little") for code in (b"\x8e", b"\x8d", b"\x95") for n in (0, 2**60)),
    *(b"q" + bytes([n]) for n in range(3)),
    *(b"h" + bytes([n]) for n in range(3)),
    pickled.name("collections", "OrderedDict") + b")R",
    pickled.name("torch._utils", "_rebuild_tensor_v2"),
    pickled.name("torch._utils", "_rebuild_parameter"),
    pickled.storage(),
)
OLD = pickle.dumps({"model": {"a": [1, (2.5, None)], "b": {3}}, "args": "x", "n": -5}, 4)


@st.composite
def torch_changed(draw: Draw) -> Example:
    """Change opcodes of a pickle, or fields of the zip around it."""
    legacy = draw(st.booleans())
    source = draw(st.sampled_from((pickled.LEGACY if legacy else pickled.USUAL, OLD)))
    codes = _opcodes(source)
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2, 3)))):
        at = draw(st.integers(0, len(codes) - 1))
        stop = at + draw(st.integers(0, 2))
        more = draw(st.lists(st.sampled_from(EXTRA) | st.sampled_from(codes), max_size=3))
        codes[at:stop] = more or codes[at:stop] * 2
        codes = codes or [b"."]
    whole = b"".join(codes)
    if legacy:
        return {torch.NAME: pickled.torch_legacy(whole)}, torch.NAME
    if draw(st.booleans()):
        held = pickled.storage(numel=draw(st.just(6) | WHOLE))
        shape, stride = tuple(draw(SHAPE)), tuple(draw(SHAPE))
        one = pickled.tensor(held, draw(st.integers(0, 3) | WHOLE), shape, stride)
        whole = pickled.state(
            draw(st.sampled_from(({"w": one}, {"w": one, "b": pickled.tensor()})))
        )
    entries = [zips.Entry("archive/data.pkl", whole), zips.Entry("archive/data/0", pickled.NUMBERS)]
    return {torch.NAME: _zip(draw, entries)}, torch.NAME


def _zip(draw: Draw, entries: list[zips.Entry]) -> bytes:
    """Return an archive, with fields changed in half of the examples."""
    if draw(st.booleans()):
        return zips.archive(*entries)
    changed = []
    for entry in entries:
        fields = st.dictionaries(st.sampled_from(sorted(zips.LOCAL)), WHOLE, max_size=1)
        local, central = draw(fields), draw(fields)
        changed.append(
            zips.Entry(
                draw(st.sampled_from((entry.name, entry.name, entry.name + "/", "../x", ""))),
                entry.data,
                draw(st.booleans()),
                local,
                central,
                draw(st.sampled_from((b"", b"", b"\x01\0\x08\0" + b"\xff" * 8, b"FB\0\0"))),
            )
        )
    end = draw(st.dictionaries(st.sampled_from(sorted(zips.END)), WHOLE, max_size=1))
    return zips.archive(*changed, end=end, tail=draw(st.binary(max_size=3)))


@st.composite
def gguf_changed(draw: Draw) -> Example:
    """Change values and tensors' entries."""
    parts, entries = list(ggufs.PARTS), list(ggufs.USUAL)
    for _ in range(draw(st.integers(0, 2))):
        part = parts[draw(st.integers(0, len(parts) - 1))]
        parts.append(
            ggufs.Part(
                draw(st.sampled_from((part.name, "a", "blk.0.ffn_up_exps.weight", b"\xff", ""))),
                draw(st.just(part.dims) | SHAPE.map(tuple)),
                draw(st.just(part.type) | st.integers(0, 45) | WHOLE),
                part.data,
                draw(st.none() | WHOLE),
                draw(st.none() | st.none() | WHOLE),
            )
        )
    keys = ("general.alignment", "general.architecture", "split.count", "llama.block_count", "x")
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.integers(0, 14))
        raw = draw(st.binary(max_size=24))
        if kind == ggufs.ARRAY and draw(st.booleans()):
            raw = ggufs.array(draw(st.integers(0, 14)), raw, draw(WHOLE))
        entries.insert(
            draw(st.integers(0, len(entries))),
            ggufs.entry(draw(st.sampled_from(keys) | st.text(max_size=4)), kind, raw),
        )
    counts = draw(st.just((None, None)) | st.tuples(st.none() | WHOLE, st.none() | WHOLE))
    whole = ggufs.gguf(*parts, entries=tuple(entries), counts=counts)
    return {gguf.NAME: whole}, gguf.NAME


LITERALS = st.recursive(
    st.sampled_from(("1", "-1", "True", "None", "''", "'<f4'", "'|O'", "2**9", "1j", "b''", "..."))
    | WHOLE.map(str)
    | st.text(max_size=3),
    lambda x: st.lists(x, max_size=3).map(lambda y: "(" + ",".join(y) + ",)")
    | st.lists(x, max_size=3).map(lambda y: "[" + ",".join(y) + "]")
    | st.lists(x, max_size=3).map(lambda y: "{" + ",".join(f"{z}:{z}" for z in y) + "}"),
    max_leaves=6,
)  # fmt: skip
DESCRS = ("'<f4'", "'<f2'", "'>i8'", "'|b1'", "'<c8'", "'|S3'", "'<U2'", "[('a','<f4')]", "'f'")


@st.composite
def arrays_changed(draw: Draw) -> Example:
    """Change parts of a header, and what is around it."""
    descr = draw(st.sampled_from(DESCRS) | LITERALS)
    order = draw(st.sampled_from(("True", "False")) | LITERALS)
    numbers = draw(SHAPE)
    shape = draw(st.just(repr(tuple(numbers))) | st.just("(2, 3)") | LITERALS)
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    size = prod(numbers) * draw(st.sampled_from((4, 8, 2, 1)))
    one = arrays.npy(
        text.encode("utf-8", "replace"),
        draw(st.sampled_from((arrays.DATA, bytes(size if 0 <= size < 2**12 else 9)))),
        version=draw(st.sampled_from((b"\1\0", b"\2\0", b"\3\0"))),
    )
    if draw(st.booleans()):
        return {arrays.NPY: one}, arrays.NPY
    names = draw(
        st.lists(st.sampled_from(("a.npy", "b.npy", "c", "../d.npy")), min_size=1, max_size=3)
    )
    entries = [zips.Entry(name, one if n == 0 else arrays.VALID) for n, name in enumerate(names)]
    return {arrays.NPZ: _zip(draw, entries)}, arrays.NPZ


FIELDS = st.recursive(
    st.binary(max_size=30),
    lambda inner: st.lists(
        st.tuples(st.integers(0, 16), st.integers(0, 7), inner, st.integers(0, 9), WHOLE),
        max_size=4,
    ).map(lambda fields: b"".join(_field(*field) for field in fields)),
    max_leaves=8,
)  # fmt: skip


def _field(number: int, kind: int, content: bytes, chance: int, size: int) -> bytes:
    if kind == 0:
        return key(number, 0) + varint(size)
    length = size if chance == 0 else len(content)
    return key(number, 2 if chance < 9 else kind) + varint(length) + content


@st.composite
def onnx_changed(draw: Draw) -> Example:
    """Put fields of any kind into the model, its graph, and a tensor."""
    more = [draw(FIELDS) for _ in range(3)]
    one = onnx.tensor("w", tuple(draw(SHAPE)), draw(st.integers(0, 30) | WHOLE), more[0])
    place = draw(st.sampled_from((onnx.BESIDE, "../x", "", onnx.FILE)))
    numbers = WHOLE.map(str) | st.text(max_size=3)
    beside = onnx.external(
        dims=tuple(draw(st.lists(st.integers(0, 9), max_size=3))),
        location=place,
        offset=draw(numbers),
        length=draw(numbers),
    )
    which = draw(st.sampled_from(((one,), (beside,), onnx.USUAL, (*onnx.USUAL, one))))
    whole = onnx.model(*which, graph=more[1], tail=more[2])
    return {**onnx.VALID, onnx.FILE: whole}, onnx.FILE


@st.composite
def adapters_changed(draw: Draw) -> Example:
    """Change settings, and the shapes that they speak of."""
    shapes = [tuple(draw(st.lists(st.integers(0, 4), max_size=4))) for _ in range(2)]
    pairs = zip(adapters.GOOD, shapes, strict=True)
    other = {name: floats(*shape) for name, shape in pairs}
    tensors = draw(st.sampled_from((adapters.GOOD, other)))
    config = _changed(draw, adapters.VALID[adapters.CONFIG])
    return {adapters.TENSORS: stored(tensors), adapters.CONFIG: config}, ""


@st.composite
def packed_changed(draw: Draw) -> Example:
    """Change settings and shapes, and leave out parts."""
    method = draw(st.sampled_from(sorted(packs.METHODS)))
    tensors, settings = packs.METHODS[method]
    tensors = dict(tensors)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(tensors)))
        kind = draw(st.sampled_from(("drop", "shape", "shape", "type", "bytes")))
        dtype, shape, data = tensors.pop(name)
        if kind == "shape":
            shape = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 8, 16, 32)), max_size=3)))
        dtype = draw(st.sampled_from(sorted(packs.WIDTH))) if kind == "type" else dtype
        if kind == "bytes":
            tensors[name] = dtype, shape, draw(st.binary(min_size=len(data), max_size=len(data)))
        elif kind != "drop":
            tensors[name] = packs.some(dtype, *shape, byte=draw(st.sampled_from((0, 1, 127, 255))))
        if not tensors:
            break
    file = draw(st.sampled_from(("config.json", "config.json", "quantize_config.json")))
    config = _changed(draw, packs.files({}, settings, file)[file])
    return {packs.NAME: stored(tensors), file: config}, ""


STRUCTURED: dict[str, Callable[[], st.SearchStrategy[Example]]] = {
    "safetensors": safetensors_changed,
    "torch": torch_changed,
    "gguf": gguf_changed,
    "arrays": arrays_changed,
    "onnx": onnx_changed,
    "adapters": adapters_changed,
    "packed": packed_changed,
}


def strategy(form: str) -> st.SearchStrategy[Example]:
    """Return what is tried of a format: mostly changes of structure."""
    return STRUCTURED[form]() | STRUCTURED[form]() | bytes_changed(form) | only_noise(form)
