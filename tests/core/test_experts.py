"""Experts in every spelling: the same numbers give the same fields, and point back to the file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import weightwalk
from safetensors.numpy import save_file
from weightwalk.batch.cli import main
from weightwalk.core import experts
from weightwalk.core.change import Change
from weightwalk.core.errors import SelectionError
from weightwalk.core.experts import experts_of
from weightwalk.core.fields import build
from weightwalk.core.inspect import read_cell
from weightwalk.core.naming import parse
from weightwalk.core.plans import make_plans
from weightwalk.core.readers import values
from weightwalk.core.settings import FieldSettings

EXPERTS, HIDDEN, INNER = 3, 24, 20
SHAPES = {"gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER)}


@pytest.fixture
def numbers():
    """One layer's experts by role: (expert, out, in), as the layers of all models compute them."""
    rng = np.random.default_rng(3)
    return {role: rng.standard_t(3, (EXPERTS, *s)).astype("f4") for role, s in SHAPES.items()}


def one_by_one(start, gate, up, down):
    def spell(numbers):
        words = {"gate": gate, "up": up, "down": down}
        return {
            f"{start}.{e}.{word}.weight": numbers[role][e]
            for role, word in words.items()
            for e in range(EXPERTS)
        }

    return spell


def fused(gate_up, down, *, turned=False, interleaved=False):
    def spell(numbers):
        two = np.stack([numbers["gate"], numbers["up"]], axis=2 if interleaved else 1)
        one = two.reshape(EXPERTS, 2 * INNER, HIDDEN), numbers["down"]
        made = (a.transpose(0, 2, 1) for a in one) if turned else one
        return dict(zip((gate_up, down), map(np.ascontiguousarray, made), strict=True))

    return spell


def apart(numbers):
    return {f"blk.5.ffn_{role}_exps.weight": a for role, a in numbers.items()}


def flat(numbers):
    """All experts below one another; what goes into `down` is in its rows."""
    matrices = numbers["gate"], numbers["up"], numbers["down"].transpose(0, 2, 1)
    start = "transformer.blocks.5.ffn.experts.mlp."
    return {
        start + word: np.ascontiguousarray(a.reshape(-1, HIDDEN))
        for word, a in zip(("w1", "v1", "w2"), matrices, strict=True)
    }


LAYER = "model.layers.5."
FUSED = (LAYER + "mlp.experts.gate_up_proj", LAYER + "mlp.experts.down_proj")
SIZES = {"hidden_size": HIDDEN}
SPELLINGS = {
    "Mixtral": (
        {"model_type": "mixtral", **SIZES},
        one_by_one(LAYER + "block_sparse_moe.experts", "w1", "w3", "w2"),
    ),
    "Qwen, DeepSeek, OLMoE": (
        {"model_type": "qwen3_moe", **SIZES},
        one_by_one(LAYER + "mlp.experts", "gate_proj", "up_proj", "down_proj"),
    ),
    "Jamba": ({}, one_by_one(LAYER + "feed_forward.experts", "gate_proj", "up_proj", "down_proj")),
    "Grok": ({}, one_by_one(LAYER + "moe_block.experts", "linear", "linear_v", "linear_1")),
    "fused by transformers 5": ({"model_type": "mixtral", **SIZES}, fused(*FUSED)),
    "gpt-oss": (
        {"model_type": "gpt_oss", **SIZES},
        fused(*FUSED, turned=True, interleaved=True),
    ),
    "gpt-oss by OpenAI": (
        SIZES,
        fused("block.5.mlp.mlp1_weight", "block.5.mlp.mlp2_weight", interleaved=True),
    ),
    "Llama 4": (
        {"model_type": "llama4", "text_config": {"model_type": "llama4_text", **SIZES}},
        fused(
            "language_model.model.layers.5.feed_forward.experts.gate_up_proj",
            "language_model.model.layers.5.feed_forward.experts.down_proj",
            turned=True,
        ),
    ),
    "Aria": (
        {"text_config": {"model_type": "aria_text", **SIZES}},
        fused(LAYER + "mlp.experts.fc1.weight", LAYER + "mlp.experts.fc2.weight", turned=True),
    ),
    "Granite": (
        {"model_type": "granitemoe", **SIZES},
        fused(
            LAYER + "block_sparse_moe.input_linear.weight",
            LAYER + "block_sparse_moe.output_linear.weight",
        ),
    ),
    "DBRX": ({"model_type": "dbrx", "ffn_config": {"moe_num_experts": EXPERTS}}, flat),
    "GGUF": ({}, apart),
}


def write(folder, spelling, numbers):
    config, spell = SPELLINGS[spelling]
    folder.mkdir(exist_ok=True)
    save_file(spell(numbers), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_same_numbers_give_the_same_fields(tmp_path, monkeypatch, numbers, spelling):
    for name in ("_PANEL", "_PANEL_ACROSS"):  # panels and blocks that end within cells
        monkeypatch.setattr(values, name, 7 * HIDDEN)
    monkeypatch.setattr(experts, "_BLOCK", 111)
    chosen = FieldSettings("experts", 9, 10, "absmax")
    with weightwalk.open(write(tmp_path / "m", spelling, numbers)) as checkpoint:
        plans, skips = make_plans(list(checkpoint.values()), chosen)
        assert not skips
        assert [p.name for p in plans] == [f"experts layer 5 {role}" for role in SHAPES]
        for plan in plans:
            whole = numbers[plan.role]
            field = build(plan, chosen)
            assert plan.planes == tuple(f"expert {e}" for e in range(EXPERTS))
            assert field.info.sigmas == pytest.approx(whole.astype("f8").std(axis=(1, 2)), rel=1e-9)
            for e, part in enumerate(plan.parts):
                np.testing.assert_array_equal(np.asarray(part.tensor), whole[e])
                assert part.tensor.names.expert == e
            cell = field.cells.size - 12  # of the last expert
            found = finish_all(read_cell(plan, chosen, cell))
            there = np.asarray(checkpoint[found.tensor])[found.largest.index]
            assert there == np.float32(found.largest.value)
            assert found.sigmas == pytest.approx(float(field.cells.flat[cell]), rel=1e-6)


def finish_all(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("spelling", [s for s in SPELLINGS if s not in ("Jamba", "Grok")])
def test_a_matrix_has_the_name_by_which_numpy_cuts_it_out(tmp_path, numbers, spelling):
    with weightwalk.open(write(tmp_path / "m", spelling, numbers)) as checkpoint:
        for tensor in checkpoint.values():
            if not tensor.names.fused_experts:
                continue
            array = np.asarray(tensor)
            cut = list(experts_of(tensor))
            assert sum(one.nbytes for one in cut) == tensor.nbytes
            assert len({one.name for one in cut}) == len(cut)
            for one in cut:
                own = eval("array" + one.name.removeprefix(tensor.name), {"array": array})
                np.testing.assert_array_equal(own, np.asarray(one))
                assert experts.find(checkpoint, one.name).names == one.names
                for begin, end in ((0, 1), (1, 30), (77, 78), (17, 17), (own.size - 45, own.size)):
                    some = one.flat(begin, end, np.float64)
                    np.testing.assert_array_equal(some, own.ravel()[begin:end])
                    if begin < end:
                        assert array[one.index_of(begin)] == some[0]
                        (span,) = one.values.spans(begin, end)
                        assert span.begin < span.end <= tensor.nbytes + span.file.size
        assert experts.find(checkpoint, "nothing[0]") is None


def test_mixtral_and_gpt_oss_give_the_same_meshes(tmp_path, capsys, numbers):
    made = []
    for spelling in ("Mixtral", "gpt-oss"):
        folder = write(tmp_path / spelling, spelling, numbers)
        out = tmp_path / f"{spelling} out"
        command = ["mesh", str(folder), "--field", "experts", "--faces", "2000", "--out", str(out)]
        assert main(command) == 0
        made.append([path.read_bytes()[80:] for path in sorted(out.glob("*.stl"))])
    capsys.readouterr()
    assert made[0] == made[1] != []


def test_a_square_matrix_lies_as_the_kind_of_model_says():
    name, shape = "model.layers.0.mlp.experts.down_proj", (4, 16, 16)
    for kind, transposed in (("gpt_oss", True), ("llama4_text", True), ("qwen3_moe", False)):
        layout = parse(name, shape, {"model_type": kind, "hidden_size": 16}).fused_layout
        assert layout.transposed is transposed
    assert parse(name, shape, {"hidden_size": 16}).fused_layout is None
    assert parse(name, shape).fused_layout is None


def test_a_layout_that_config_and_shape_disagree_on_is_not_guessed(tmp_path, numbers):
    folder = write(tmp_path / "m", "gpt-oss", numbers)
    (folder / "config.json").write_text('{"model_type": "gpt_oss", "hidden_size": 99}')
    with weightwalk.open(folder) as checkpoint:
        plans, _ = make_plans(list(checkpoint.values()), FieldSettings("experts"))
        assert [p.role for p in plans] == ["gate_up", "down"]
        first = plans[0].parts[1].tensor
        np.testing.assert_array_equal(np.asarray(first), np.asarray(checkpoint[FUSED[0]])[1])
        assert first.name == FUSED[0] + "[1]"


def test_a_change_of_fused_experts_is_cut_like_them(tmp_path, numbers):
    later = {role: a + np.float32(0.5) * a[::-1] for role, a in numbers.items()}
    with (
        weightwalk.open(write(tmp_path / "a", "gpt-oss", numbers)) as first,
        weightwalk.open(write(tmp_path / "b", "gpt-oss", later)) as other,
    ):
        change = Change.of(other[FUSED[0]], first[FUSED[0]])
        cut = list(experts_of(change))
        assert [one.role for one in cut] == ["gate"] * EXPERTS + ["up"] * EXPERTS
        for e, one in enumerate(cut[EXPERTS:]):
            np.testing.assert_array_equal(np.asarray(one), later["up"][e] - numbers["up"][e])
            entry = np.asarray(other[FUSED[0]])[one.index_of(33)]
            assert entry == later["up"][e].ravel()[33]


def test_double_precision_is_kept(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, HIDDEN, 2 * INNER))
    save_file({FUSED[0]: array}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SPELLINGS["gpt-oss"][0]))
    with weightwalk.open(tmp_path) as checkpoint:
        first = next(experts_of(checkpoint[FUSED[0]]))
        np.testing.assert_array_equal(np.asarray(first, np.float64), array[0, :, ::2].T)


@pytest.mark.parametrize("shape", [(1 << 15, 1, 2), (1 << 40, 0, 3), (0, 3, 4), (1, 4, 6)])
def test_counts_that_make_no_stack_are_told_at_once(tmp_path, shape):
    save_file({FUSED[0]: np.zeros(0, "f2").reshape(shape) if 0 in shape else np.zeros(shape, "f2")},
              tmp_path / "model.safetensors")  # fmt: skip
    with (
        weightwalk.open(tmp_path) as checkpoint,
        pytest.raises(SelectionError, match="no experts"),
    ):
        make_plans(list(checkpoint.values()), FieldSettings("experts"))
