#!/usr/bin/env python3
"""Write a checkpoint with the names and shapes of DeepSeek-V3: 671 B parameters, hardly a byte.

    scripts/_giant.py FOLDER

The shards are sparse files: real headers, and 690 GB of data that read as zeros and take no place
on a disk whose file system knows holes. Shapes and dtypes are those of the config.json and of the
headers at https://huggingface.co/deepseek-ai/DeepSeek-V3 (layer 61 is its multi-token prediction).
"""

# Standard library only, as the bench itself.
import json
import random
import struct
import sys
from itertools import accumulate, chain, groupby
from math import prod
from pathlib import Path

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "torch_dtype": "bfloat16",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
SHARDS = 163
_ANY = bytes(range(256))
# For each byte of a number, what a random one is turned into: |x| from 2^-8 to 2^-5 in BF16, the
# same without a sign in F32 (scales), below 2 in F8.
_SMALL = bytes(0x3C | i & 0x80 for i in range(256))
_TOP = {
    "BF16": (_ANY, _SMALL),
    "F32": (_ANY, _ANY, _ANY, bytes(0x3C for _ in range(256))),
    "F8_E4M3": (bytes(i & 0xBF for i in range(256)),),
}


def plain(name, *shape, dtype="BF16"):
    """Yield one tensor as (name, dtype, shape)."""
    yield name, dtype, shape


def packed(name, rows, cols):
    """Yield an FP8 matrix, and the scales of its blocks."""
    yield f"{name}.weight", "F8_E4M3", (rows, cols)
    yield f"{name}.weight_scale_inv", "F32", (-(-rows // 128), -(-cols // 128))


def feed_forward(name, hidden, inner):
    """Yield the three matrices of an MLP or of an expert."""
    for part, shape in (
        ("gate", (inner, hidden)),
        ("up", (inner, hidden)),
        ("down", (hidden, inner)),
    ):
        yield from packed(f"{name}.{part}_proj", *shape)


def layer(name, config, *, dense):
    """Yield a layer's tensors."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope, v = (config[f"{key}_head_dim"] for key in ("qk_nope", "qk_rope", "v"))
    yield from plain(f"{name}.input_layernorm.weight", hidden)
    attention = f"{name}.self_attn"
    yield from packed(f"{attention}.q_a_proj", q_rank, hidden)
    yield from plain(f"{attention}.q_a_layernorm.weight", q_rank)
    yield from packed(f"{attention}.q_b_proj", heads * (nope + rope), q_rank)
    yield from packed(f"{attention}.kv_a_proj_with_mqa", kv_rank + rope, hidden)
    yield from plain(f"{attention}.kv_a_layernorm.weight", kv_rank)
    yield from packed(f"{attention}.kv_b_proj", heads * (nope + v), kv_rank)
    yield from packed(f"{attention}.o_proj", hidden, heads * v)
    yield from plain(f"{name}.post_attention_layernorm.weight", hidden)
    if dense:
        yield from feed_forward(f"{name}.mlp", hidden, config["intermediate_size"])
        return
    experts, inner = config["n_routed_experts"], config["moe_intermediate_size"]
    yield from plain(f"{name}.mlp.gate.weight", experts, hidden)
    yield from plain(f"{name}.mlp.gate.e_score_correction_bias", experts, dtype="F32")
    for expert in range(experts):
        yield from feed_forward(f"{name}.mlp.experts.{expert}", hidden, inner)
    shared = inner * config["n_shared_experts"]
    yield from feed_forward(f"{name}.mlp.shared_experts", hidden, shared)


def tensors(config):
    """Yield every tensor of a model as (name, dtype, shape); `config` may have fewer layers."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield from plain("model.embed_tokens.weight", vocabulary, hidden)
    count = config["num_hidden_layers"]
    for number in range(count):
        dense = number < config["first_k_dense_replace"]
        yield from layer(f"model.layers.{number}", config, dense=dense)
    yield from plain("model.norm.weight", hidden)
    yield from plain("lm_head.weight", vocabulary, hidden)
    for number in range(count, count + config["num_nextn_predict_layers"]):
        name = f"model.layers.{number}"
        yield from plain(f"{name}.embed_tokens.weight", vocabulary, hidden)
        yield from plain(f"{name}.enorm.weight", hidden)
        yield from plain(f"{name}.hnorm.weight", hidden)
        yield from plain(f"{name}.eh_proj.weight", hidden, 2 * hidden)
        yield from layer(name, config, dense=False)
        yield from plain(f"{name}.shared_head.norm.weight", hidden)
        yield from plain(f"{name}.shared_head.head.weight", vocabulary, hidden)


def write(folder, every, config, shards, real=()):
    """Write a model into a new folder.

    Parameters
    ----------
    folder : Path
    every : list of (str, str, tuple of int)
        Name, dtype and shape of each tensor, such as `tensors` gives them.
    config : dict
        For ``config.json``.
    shards : int
        How many files to spread the bytes over.
    real : sequence of str
        Tensors whose names have one of these in them get bytes of their own, and so take place.

    Returns
    -------
    dict
        ``tensors``: how many there are; ``bytes``: apparent size of their data.
    """
    folder.mkdir(parents=True)
    total = sum(map(size_of, every))
    begins = [0, *accumulate(map(size_of, every))]
    placed = [(begin * shards // total, one) for begin, one in zip(begins, every, strict=False)]
    weight_map = {}
    for number, (_, of_shard) in enumerate(groupby(placed, key=lambda one: one[0]), 1):
        name = f"model-{number:05}-of-{shards:06}.safetensors"
        held = [tensor for _, tensor in of_shard]
        write_shard(folder / name, held, real)
        weight_map |= {tensor: name for tensor, _, _ in held}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return {"tensors": len(every), "bytes": total}


def size_of(tensor):
    """Return the bytes of a tensor."""
    _, dtype, shape = tensor
    return len(_TOP[dtype]) * prod(shape)


def write_shard(path, held, real):
    """Write one file: the header, holes, and the bytes of some tensors."""
    header, end = {}, 0
    for tensor in held:
        name, dtype, shape = tensor
        offsets = [end, end := end + size_of(tensor)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dtype, _ in held:
            if any(word in name for word in real):
                begin, stop = header[name]["data_offsets"]
                file.seek(8 + len(text) + begin)
                fill(file, stop - begin, dtype)
        file.truncate(8 + len(text) + end)


def fill(file, size, dtype):
    """Write numbers of moderate size and either sign, the same ones for the same dtype and size."""
    width = len(_TOP[dtype])
    block = random.Random(size).randbytes(min(size, 1 << 20))
    # Little-endian: the last byte of each number has its sign and exponent.
    parts = [block[i::width].translate(top) for i, top in enumerate(_TOP[dtype])]
    block = bytes(chain.from_iterable(zip(*parts, strict=True)))
    while size > 0:
        size -= file.write(block[:size])


if __name__ == "__main__":
    print(json.dumps(write(Path(sys.argv[1]), list(tensors(CONFIG)), CONFIG, SHARDS)))
