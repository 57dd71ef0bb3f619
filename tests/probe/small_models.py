"""Small models with random weights, of many architectures, and a real tokenizer for them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

WORDS = ("[UNK]", "[PAD]", "[BOS]", "the", "cat", "sat", "on", "a", "mat", "and", "slept", ".")
TEXT = "the cat sat on a mat"
SIZES = {
    "vocab_size": 16, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 2,
    "pad_token_id": 1,
}  # fmt: skip
EYES = {
    key: SIZES[key]
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
} | {"image_size": 16, "patch_size": 4}  # fmt: skip
T5 = {
    "vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3,
    "num_decoder_layers": 2, "num_heads": 2, "decoder_start_token_id": 1,
    "pad_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# Architecture: its config's options. A model's class is found by transformers.
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": SIZES,
    "llama": SIZES | {"num_key_value_heads": 2},
    "bert": SIZES,
    "mixtral": SIZES | {"num_key_value_heads": 2, "num_local_experts": 4},
    "vit": EYES,
    "t5": T5,
    "swin": {
        "image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2, 2],
        "num_heads": [2, 2, 2], "window_size": 4,
    },
    "gemma2": SIZES | {"num_key_value_heads": 2, "head_dim": 8},
    "glm4": SIZES | {"num_key_value_heads": 2, "head_dim": 8},
    "afmoe": SIZES | {
        "num_key_value_heads": 2, "head_dim": 8, "num_dense_layers": 1, "num_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 8,
    },
    "bloom": SIZES | {"n_layer": 3, "n_head": 2},
    "opt": SIZES | {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "albert": SIZES | {"embedding_size": 8},
    "deepseek_v3": SIZES | {
        "moe_intermediate_size": 8, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2,
        "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4, "v_head_dim": 4, "first_k_dense_replace": 1,
    },
    "switch_transformers": T5 | {
        "num_sparse_encoder_layers": 3, "num_sparse_decoder_layers": 1, "num_experts": 4,
    },
}  # fmt: skip


def quiet_import() -> Any:
    """Return transformers; the imports behind it warn of what others do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
        import transformers.trainer
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def make(kind: str, head: str = "AutoModel", **options: Any) -> Any:
    """Return a model with random weights, the same at each call, ready for use."""
    transformers = quiet_import()
    import torch

    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind] | options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, head).from_config(config)
    return model.eval()


def words() -> Any:
    """Return a tokenizer of a dozen words."""
    transformers = quiet_import()
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {word: i for i, word in enumerate(WORDS)}
    inside = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inside, unk_token="[UNK]", pad_token="[PAD]", bos_token="[BOS]"
    )


def save(kind: str, folder: Path, head: str = "AutoModel", **options: Any) -> Path:
    """Write a model and its tokenizer, or its image processor; return the folder."""
    transformers = quiet_import()
    make(kind, head, **options).save_pretrained(folder)
    if kind in {"vit", "swin"}:
        size = CONFIGS[kind]["image_size"]
        processor = transformers.ViTImageProcessor(size={"height": size, "width": size})
        processor.save_pretrained(folder)
    else:
        words().save_pretrained(folder)
    return folder


def change_config(folder: Path, **entries: Any) -> Path:
    """Write other entries into a model's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return folder


def picture(path: Path) -> Path:
    """Write an image of noise."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path
