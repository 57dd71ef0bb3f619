"""Bad adapters: folders of PEFT."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .making import PROMISE, SECRET, Case, Files, Link, damaged, floats, stored

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BASE = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{BASE}.lora_A.weight", f"{BASE}.lora_B.weight"
GOOD = {A: floats(2, 8), B: floats(6, 2)}
USUAL: dict[str, object] = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "rank_pattern": {"k_proj": 4},
    "alpha_pattern": {"^model.layers.0.*k_proj": 8},
    "use_rslora": False,
    "fan_in_fan_out": False,
    "use_dora": False,
    "bias": "none",
    "target_modules": ["q_proj"],
    "modules_to_save": None,
    "base_model_name_or_path": "org/base",
}


def folder(tensors: dict[str, object] | None = None, **config: object) -> Files:
    """Return an adapter's files; `config` replaces settings."""
    held = stored(GOOD if tensors is None else tensors)  # type: ignore[arg-type]
    return {TENSORS: held, CONFIG: json.dumps({**USUAL, **config}).encode()}


VALID = folder()


def cases() -> Iterator[Case]:
    """Give all of them: an adapter's tensors can always be shown as they are."""
    yield from damaged("tensors", VALID, TENSORS, opened="")
    yield from damaged("config", VALID, CONFIG, opened="", cut=PROMISE)
    for what, files in {**_values(), **_tensors()}.items():
        yield Case(what, files, "", PROMISE)
    for what, config in _texts().items():
        yield Case(f"config: {what}", {TENSORS: stored(GOOD), CONFIG: config}, "", PROMISE)
    yield Case("config is a pipe", {TENSORS: stored(GOOD), CONFIG: None}, "", PROMISE)
    yield Case(
        "config is a device", {TENSORS: stored(GOOD), CONFIG: Link("/dev/zero")}, "", PROMISE
    )
    yield Case("only a config", {CONFIG: json.dumps(USUAL).encode()}, "")


def _values() -> dict[str, Files]:
    strange: list[object] = [0, -1, 3, 2**70, 1.5, 1e308, float("nan"), float("inf"), "8", None]
    strange += [True, [], {}, "x" * 10**6]
    out = {}
    for key in USUAL:
        for n in strange:
            out[f"{key} {str(n)[:20]!r}"] = folder(None, **{key: n})
    trap = {"(a+)+$": 4, "(.*)*x": 4, "((.|.)+)+q_projj": 4, "(" * 5000: 4, "[": 4, "(?P<": 4}
    trap |= {"(x{1,9999}){1,9999}": 4, "q_proj": -1, "": 2, "\x00": 2, "(?i)" * 99: 1}
    for pattern, rank in trap.items():
        for key in ("rank_pattern", "alpha_pattern"):
            out[f"{key} {pattern[:20]!r}"] = folder(_long(), **{key: {pattern: rank}})
        out[f"target_modules {pattern[:20]!r}"] = folder(_long(), target_modules=pattern)
    out["a hundred slow patterns"] = _slow()
    for value in ("2", None, 2.5, float("nan"), 2**70, [], True):
        out[f"rank of a pattern {value!r}"] = folder(None, rank_pattern={"q_proj": value})
        out[f"alpha of a pattern {value!r}"] = folder(None, alpha_pattern={"q_proj": value})
    bases = (
        "/",
        "/etc",
        "/dev/zero",
        "..",
        f"../{SECRET}",
        ".",
        "~",
        "a\0b",
        "https://127.0.0.1:9/x",
    )
    for base in (*bases, "x" * 9000, "../" * 99, "\x1b[2J", "org/../../x", "hf://x/y", "\ud800"):
        out[f"base {base[:20]!r}"] = folder(None, base_model_name_or_path=base)
    return out  # fmt: skip


def _slow() -> Files:
    """Return an adapter whose patterns nearly match a long name in very many ways."""
    base = "base_model.model." + "a." * 240 + "q_proj"
    tensors = {f"{base}.lora_A.weight": floats(2, 8), f"{base}.lora_B.weight": floats(6, 2)}
    return folder(tensors, alpha_pattern={".*" * 400 + "Z" * n: 4 for n in range(1, 100)})


def _long() -> dict[str, object]:
    """Return tensors of a name that a careless regular expression runs on for ever."""
    base = "base_model.model." + "a" * 60 + ".q_proj"
    return {f"{base}.lora_A.weight": floats(2, 8), f"{base}.lora_B.weight": floats(6, 2)}


def _tensors() -> dict[str, Files]:
    def of(a: object = None, b: object = None, **more: object) -> Files:
        held = {A: a, B: b, **{k.replace("_dot_", "."): v for k, v in more.items()}}
        return folder({k: v for k, v in held.items() if v is not None})

    good_a, good_b = floats(2, 8), floats(6, 2)
    texts = {"no A": of(None, good_b), "no B": of(good_a)}
    pairs = {
        "other ranks": (floats(2, 8), floats(6, 3)),
        "rank 0": (floats(0, 8), floats(6, 0)),
        "three axes": (floats(2, 8, 1), floats(6, 2, 1)),
        "five axes": (floats(2, 8, 1, 1, 1), floats(6, 2, 1, 1, 1)),
        "an axis less": (floats(16), floats(12)),
        "scalars": (floats(), floats()),
        "a convolution": (floats(2, 8, 3, 3), floats(6, 2, 1, 1)),
        "a convolution that is not": (floats(2, 8, 3, 3), floats(6, 2, 5, 5)),
        "whole numbers": (("I64", (2, 1), bytes(16)), ("I64", (1, 2), bytes(16))),
        "unread numbers": (("F4", (2, 8), bytes(8)), ("F4", (6, 2), bytes(6))),
        "a huge update": (floats(1, 2**17), floats(2**17, 1)),
        "no rows": (floats(2, 0), floats(0, 2)),
    }
    out = {what: of(a, b) for what, (a, b) in pairs.items()} | texts
    for end in (
        "lora_magnitude_vector",
        "lora_magnitude_vector.weight",
        "lora_A.bias",
        "lora_B.bias",
    ):
        name = f"{BASE}.{end}"
        out[f"with {end}"] = folder({**GOOD, name: floats(6)})
    names = {
        "a name of dots": "." * 999 + ".lora_A.weight",
        "only an ending": "lora_A.weight",
        "many names in one": "lora_A." * 300 + "weight",
        "an adapter's name": f"{BASE}.lora_A.\x1b/../x.weight",
    }
    for what, name in names.items():
        out[what] = folder({name: good_a, name.replace("_A", "_B"): good_b})
    out["a delta already there"] = folder({**GOOD, f"{BASE}.delta_weight": floats(6, 8)})
    embedding = {f"{BASE}.lora_embedding_A": floats(2, 8), f"{BASE}.lora_embedding_B": floats(6, 3)}
    out["embeddings"] = folder(embedding)
    return out  # fmt: skip


def _texts() -> dict[str, bytes]:
    return {
        "nested deeply": b'{"a":' * 100_000,
        "20 MB": b'{"a":"' + b"x" * 20_000_000 + b'"}',
        "15 MB of lists": b'{"a":[' + b"[]," * 5_000_000 + b"[]]}",
        "a list": b"[]",
        "empty": b"",
        "not JSON": b"\xff\xfe{}",
        "r twice": b'{"peft_type":"LORA","r":2,"r":3,"lora_alpha":4}',
        "a number of digits": b'{"peft_type":"LORA","r":2,"lora_alpha":%b}' % (b"9" * 5000),
    }
