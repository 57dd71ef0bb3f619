"""Bad safetensors files, indices of shards, and what can stand beside any model."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .making import PROMISE, SECRET, Case, Link, damaged, floats, one, packed, stored

NAME = "model.safetensors"
INDEX = "model.safetensors.index.json"
VALID = stored(
    {
        "model.layers.0.self_attn.q_proj.weight": floats(4, 6),
        "model.layers.0.mlp.up_proj.weight": ("BF16", (3, 4), bytes(range(24))),
        "model.layers.0.mlp.experts.0.w1.weight": ("F8_E4M3", (2, 4), bytes(range(8))),
        "a": ("F4", (2, 2), b"\x12\x34"),
        "ids": ("I64", (1,), bytes(8)),
    },
    format="pt",
)
SHARDS = {
    INDEX: json.dumps(
        {"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    ).encode(),
    "one.safetensors": stored({"a": floats(2, 3)}),
    "two.safetensors": stored({"b": floats(4)}),
}
CONFIG = {
    "model_type": "mixtral",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "head_dim": 8,
    "num_local_experts": 2,
    "text_config": {"num_attention_heads": 4},
}
HEADS = {
    "model.layers.0.self_attn.q_proj.weight": floats(32, 32),
    "model.layers.0.self_attn.k_proj.weight": floats(16, 32),
    "model.layers.0.block_sparse_moe.experts.0.w1.weight": floats(4, 32),
    "model.layers.0.block_sparse_moe.experts.1.w1.weight": floats(4, 32),
    "model.layers.0.mlp.experts.gate_up_proj": floats(2, 32, 8),
    "model.layers.0.self_attn.qkv_proj.weight": floats(64, 32),
}


def cases() -> Iterator[Case]:
    """Give all of them; the headers in tests/hostile/test_safetensors.py are others."""
    yield from damaged("file", {NAME: VALID}, NAME)
    yield from damaged("index", SHARDS, INDEX)
    yield from damaged("shard", SHARDS, "two.safetensors", opened=INDEX)
    lists = b'{"a":[' + b"[]," * 6_600_000 + b"[]]}"
    keys = b",".join(b'"%x":{}' % n for n in range(300_000))
    yield from one(
        NAME,
        {
            "20 MB of empty lists": packed(lists),
            "20 MB of one text": packed(b'{"a":"' + b"x" * 20_000_000 + b'"}'),
            "nested in an entry": packed(b'{"a":{"dtype":' + b'{"":' * 100_000),
            "300,000 empty entries": packed(b"{" + keys + b"}"),
            "many nines": packed(b'{"a":{"dtype":"U8","shape":[' + b"9" * 4000 + b"]}}"),
            "infinite shape": packed(b'{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}'),
        },
    )
    for name, held in _names().items():
        yield Case(f"a name of {name}", {NAME: stored({held: floats(4, 4)})}, NAME, PROMISE)
    yield from _links()
    for name, text in _configs().items():
        files = {NAME: stored(HEADS), "config.json": text}
        yield Case(f"config: {name}", files, "", PROMISE)
    yield from _many()


def _names() -> dict[str, str]:
    """Give names that are hard to take apart."""
    return {
        "200 KB": "n" * 200_000,
        "200 KB of dots": "." * 200_000,
        "200 KB of digits": "9" * 200_000,
        "a layer of 5,000 digits": f"model.layers.{'9' * 5000}.self_attn.q_proj.weight",
        "an expert of 5,000 digits": f"model.layers.0.mlp.experts.{'9' * 5000}.w1.weight",
        "a layer of 30 digits": f"model.layers.{'9' * 30}.self_attn.q_proj.weight",
        "digits of another script": "model.layers.٣.self_attn.q_proj.weight",
        "digits that are none": "model.layers.²³.self_attn.q_proj.weight",
        "many indices": "layers.1." * 20_000 + "weight",
        "many experts": "experts.1." * 20_000 + "w1.weight",
        "many underscores": "self_attn_" * 20_000 + "q_proj.weight",
        "many projections": "q_proj." * 20_000,
        "many letters and digits": "h1" * 20_000 + ".weight",
        "many slashes": "a/" * 20_000 + "kernel",
        "nothing": "",
        "spaces": "   ",
    }


def _many() -> Iterator[Case]:
    """Give well-formed headers of more than any model has, and one file under many names."""
    entry = b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'

    def empty(count: int) -> bytes:
        return packed(b"{" + b",".join(entry % n for n in range(count)) + b"}")

    yield Case("250,000 empty tensors", {NAME: empty(250_000)}, NAME, says="more than")
    names = b",".join(b'"%d":"x"' % n for n in range(1_000_000))
    yield Case("an index of 1,000,000 names", {INDEX: b'{"weight_map":{%s}}' % names})
    lists = b'{"weight_map":{"a":[' + b"[]," * 4_000_000 + b"[]]}}"
    yield Case("an index of 4,000,000 lists", {INDEX: lists})
    spelt = {f"{n:x}": "./" * n + "one.safetensors" for n in range(200)}
    index = json.dumps({"weight_map": spelt}).encode()
    files = {INDEX: index, "one.safetensors": empty(5000)}
    yield Case("a shard that is spelt in 200 ways", files, "", PROMISE)
    spelt = {f"{n:x}": f"{n}.safetensors" for n in range(200)}
    links = {f"{n}.safetensors": Link("one.safetensors") for n in range(200)}
    files = {INDEX: json.dumps({"weight_map": spelt}).encode(), "one.safetensors": empty(5000)}
    yield Case("a shard of 200 links", {**files, **links}, "", PROMISE)


def _links() -> Iterator[Case]:
    """Links, pipes and devices in place of files."""
    yield Case("a link to what is no model", {NAME: Link("/etc/passwd")}, "", says="safetensors")
    yield Case("a link to a device", {NAME: Link("/dev/zero")}, "", says="not a regular file")
    yield Case("a link to itself", {NAME: Link(NAME)}, "")
    yield Case("a link to nothing", {NAME: Link("nothing")}, "")
    yield Case("a pipe", {NAME: None}, "", says="not a regular file")
    yield Case("a folder that is a link to itself", {"model": Link("model")}, "model")
    yield Case("config is a pipe", {NAME: VALID, "config.json": None}, "", PROMISE)
    yield Case("config is a device", {NAME: VALID, "config.json": Link("/dev/zero")}, "", PROMISE)
    yield Case("index is a pipe", {INDEX: None}, INDEX)
    yield Case("index is a device", {INDEX: Link("/dev/zero")}, INDEX)
    yield Case("index is a folder", {f"{INDEX}/a": b"x"}, INDEX)
    shards = {INDEX: b'{"weight_map": {"a": "one.safetensors"}}'}
    yield Case("a shard is a pipe", {**shards, "one.safetensors": None}, INDEX)
    yield Case("a shard is a device", {**shards, "one.safetensors": Link("/dev/zero")}, INDEX)
    foreign = {**shards, "one.safetensors": Link("/etc/passwd")}
    yield Case("a shard is a link to what is no model", foreign, INDEX, says="safetensors")
    for place in (f"../{SECRET}", f"x/../../{SECRET}", f"..\\\\{SECRET}", "/etc/passwd", "", "."):
        index = b'{"weight_map": {"a": "%s"}}' % place.encode()
        yield Case(f"a shard at {place!r}", {INDEX: index}, INDEX, says="not a path inside")
    yield Case("a shard is the index", {INDEX: b'{"weight_map": {"a": "%s"}}' % INDEX.encode()})


def _configs() -> dict[str, bytes]:
    """Give bad ``config.json``; the model beside it is a good one."""
    bad = {
        "nested deeply": b'{"a":' * 100_000,
        "nested lists": b'{"a":' + b"[" * 100_000,
        "20 MB": b'{"a":"' + b"x" * 20_000_000 + b'"}',
        "15 MB of lists": b'{"a":[' + b"[]," * 5_000_000 + b"[]]}",
        "a list": b"[]",
        "empty": b"",
        "not JSON": b"\xff\xfe{}",
        "a control character": b'{"model_type": "\\u001b[2J\\n"}',
    }
    values = ["0", "-1", "1e999", "NaN", "-1e999", "true", "null", '"4"', "[4]", "{}", "4.5"]
    values += ["9" * 4000, "9" * 30, "1000000000", '"\\ud800"']
    for key in CONFIG:
        for value in values:
            whole = json.dumps({**CONFIG, key: "?"}).replace('"?"', value)
            bad[f"{key} {value[:12]}"] = whole.encode()
    return bad
