"""The panel Flow, as far as a Blender without windows has it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from .operators import load, said_by

pytestmark = pytest.mark.bpy

LAYERS, FEATURES = 6, 40
TEXTS = ("The sky is", "Two and two make four")


def made(step=None, *, keep="all", seed=1, features=FEATURES, run=""):
    """Return a probe of two prompts, which have three and five tokens."""
    from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt

    rng = np.random.default_rng(seed)
    prompts, values = [], {}
    for i, text in enumerate(TEXTS):
        tokens = tuple(f" {word}" for word in text.split())
        positions = tuple(range(len(tokens)))[0 if keep == "all" else -1 :]
        prompts.append(Prompt(text, "", tokens, positions))
        for output in ("hidden", "mlp"):
            shape = LAYERS, len(positions), features
            grown = rng.standard_normal(shape) * (1.0 + 0.01 * (step or 0))
            values[i, output] = tuple(grown.astype(np.float32))
    names = tuple(f"model.layers.{i}" for i in range(LAYERS))
    info = ProbeInfo(
        "tiny", "", "llama", "LlamaForCausalLM", "float32", "cpu", names, tuple(prompts), step, run
    )
    return Probe(info, values)


def write(folder, step=None, **given):
    from weightwalk.core.flow.probe import write_probe

    folder.mkdir(exist_ok=True)
    path = folder / ("tiny.safetensors" if step is None else f"step-{step}.safetensors")
    beside = path.with_suffix(".part")
    write_probe(beside, made(step, **given))
    beside.replace(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Return a folder of a training's probe files."""
    folder = tmp_path / "flow"
    for step in (0, 5, 10):
        write(folder, step, seed=step)
    return folder


@pytest.fixture
def flow(bpy, folder):
    """Return the scene's properties, with the files loaded and nothing built."""
    assert bpy.ops.weightwalk.load_flow(filepath=str(folder)) == {"FINISHED"}
    return bpy.context.scene.weightwalk.flow


def record(bpy):
    from weightwalk.scene.flow import flow_record

    return flow_record(bpy.context.scene)


def heights(bpy):
    """Return the shapes of the terrain in the scene: a vertex position for each moment."""
    keys = next(o.data.shape_keys for o in bpy.context.scene.objects
                if o.type == "MESH" and o.data.shape_keys)  # fmt: skip
    found = []
    for block in keys.key_blocks:
        vertices = np.empty(3 * len(block.data), np.float32)
        block.data.foreach_get("co", vertices)
        found.append(vertices)
    return np.array(found)


# --- load -------------------------------------------------------------------------------------


def test_a_folder_is_listed_with_what_is_left_out_and_why(bpy, folder):
    broken = folder / "step-7.safetensors"
    broken.write_bytes((folder / "step-5.safetensors").read_bytes()[:-9])
    bpy.ops.weightwalk.load_flow(filepath=str(folder))
    flow = bpy.context.scene.weightwalk.flow
    assert flow.names == ["step 0", "step 5", "step 10"]
    assert flow.left_out.startswith("step-7.safetensors: ")
    assert (flow.about["model"], flow.about["layers"]) == ("tiny", LAYERS)
    assert [prompt["name"] for prompt in flow.about["prompts"]] == list(TEXTS)
    assert flow.about["outputs"] == ["hidden", "mlp"]
    assert flow.departs.startswith("step 10 against step 0: 2 prompts are too few")
    assert flow.grows


def test_the_last_token_of_each_prompt_is_chosen(flow):
    assert [text for _, text in flow.tokens] == [" The", " sky", " is"]
    assert (flow.token, flow.settings().token) == ("2", -1)
    flow.token = "0"
    assert flow.settings().token == 0
    flow.prompt = "1"
    assert (flow.token, flow.settings().prompt, flow.settings().token) == ("4", 1, -1)


def test_files_may_be_typed_or_chosen_together_and_a_wrong_one_changes_nothing(
    bpy, folder, tmp_path
):
    flow = bpy.context.scene.weightwalk.flow
    flow.target = str(folder / "step-5.safetensors")
    assert flow.names == ["step 5"]
    assert not flow.grows
    assert flow.over == "tokens", "there is nothing else to go by"
    flow.target = str(tmp_path / "nowhere")
    assert flow.target == str(folder / "step-5.safetensors")
    assert flow.names == ["step 5"]
    flow.target = str(folder / "step-[05]*.safetensors")
    assert flow.names == ["step 0", "step 5"]
    several = [{"name": f"step-{step}.safetensors"} for step in (10, 0)]
    bpy.ops.weightwalk.load_flow(
        filepath=str(folder / "step-0.safetensors"), directory=f"{folder}/", files=several
    )
    assert flow.names == ["step 0", "step 10"]
    before = flow.target
    flow.target = ""
    flow.target = before
    assert flow.names == ["step 0", "step 10"]


@pytest.mark.parametrize("where", ["load_model", "load_run", "load_flow"])
def test_weights_are_no_probe_and_a_probe_is_no_weights(bpy, folder, checkpoint, where):
    if where == "load_flow":
        said = said_by(bpy.ops.weightwalk.load_flow, filepath=str(checkpoint))
        assert "this is no probe file" in said
        assert not bpy.context.scene.weightwalk.flow.loaded
        return
    if where == "load_model":
        said = said_by(load, bpy=bpy, path=folder / "step-5.safetensors")
    else:
        said = said_by(bpy.ops.weightwalk.load_run, directory=str(folder))
    assert "probe file" in said and "Flow" in said
    assert not bpy.context.scene.weightwalk.path


def test_files_of_other_prompts_or_models_are_named(bpy, folder, tmp_path):
    write(folder, 20, keep="last")
    said = said_by(bpy.ops.weightwalk.load_flow, filepath=str(folder))
    assert "step-0.safetensors and" in said and "step-20.safetensors" in said
    assert "load a probe file first" in said_by(bpy.ops.weightwalk.build_flow)
    assert "choose a probe file" in said_by(bpy.ops.weightwalk.load_flow)


def test_every_setting_has_a_tooltip(flow):
    hidden = {
        "loaded",
        "found",
        "facts",
        "departs",
        "left_out",
        "cost",
        "grows",
        "rna_type",
        "name",
    }
    for name, field in flow.bl_rna.properties.items():
        assert field.description or name in hidden, name
        if field.type == "ENUM":
            assert all(item.description for item in field.enum_items), name


# --- build ------------------------------------------------------------------------------------


def test_the_button_and_the_function_make_the_same(flow, bpy, folder):
    from weightwalk.core.flow.run import find_run
    from weightwalk.core.flow.settings import FlowSettings, FlowShape
    from weightwalk.core.stages import finish
    from weightwalk.flow import flow_in_scene_steps

    assert flow.cost.startswith(f"{LAYERS * FEATURES:,} vertices, 390 faces, ")
    assert bpy.ops.weightwalk.build_flow() == {"FINISHED"}
    by_button = heights(bpy)
    assert record(bpy).faces == 390
    assert record(bpy).labels == ("step 0", "step 5", "step 10")
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end, scene.render.fps) == (1, 36, 24)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    run = find_run([str(folder)])
    finish(flow_in_scene_steps(bpy.context.scene, run, FlowSettings(), FlowShape()))
    np.testing.assert_array_equal(heights(bpy), by_button)


def test_what_is_asked_for_is_what_is_built(flow, bpy):
    flow.prompt, flow.token, flow.output = "1", "1", "mlp"
    flow.limit, flow.sigma, flow.faces = 2.2, "all", 200
    flow.frames, flow.start, flow.fps = 5, 3, 10
    bpy.ops.weightwalk.build_flow()
    settings, shape = record(bpy).settings, record(bpy).shape
    assert (settings.prompt, settings.token, settings.output) == (1, 1, "mlp")
    assert (settings.limit, settings.sigma) == (2.2, "all")
    assert (shape.frames, shape.start, shape.fps) == (5, 3, 10)
    assert record(bpy).faces <= 200
    assert "2 features a column" in flow.cost
    assert (flow.prompt, flow.token, flow.output) == ("1", "1", "mlp")
    flow.over = "tokens"
    bpy.ops.weightwalk.build_flow()
    assert len(record(bpy).labels) == 5
    flow.view = "volume"
    assert flow.cost.startswith("At most 600 faces, ")


def test_a_volume_takes_several_tokens(bpy, tmp_path):
    bpy.ops.weightwalk.load_flow(filepath=str(write(tmp_path / "one", keep="last")))
    flow = bpy.context.scene.weightwalk.flow
    assert flow.names == ["tiny"]
    flow.view = "volume"
    assert flow.cost == "A volume takes several tokens, and one was kept: probe with --token all"
    assert "several tokens" in said_by(bpy.ops.weightwalk.build_flow)
    assert record(bpy) is None
    bpy.ops.weightwalk.load_flow(filepath=str(write(tmp_path / "all")))
    assert bpy.ops.weightwalk.build_flow() == {"FINISHED"}
    assert record(bpy).shape.view == "volume"


def test_a_cancelled_build_leaves_the_scene_as_it_was(flow, bpy):
    from weightwalk.ui.flow_build import _build

    before = {kind: len(getattr(bpy.data, kind)) for kind in ("objects", "meshes", "images")}
    work = _build(bpy.context.scene.name, flow.targets, flow.settings(), flow.shape())
    for now in work:
        if now.stage == "scene" and now.what == "picture":
            break
    work.close()
    assert before == {kind: len(getattr(bpy.data, kind)) for kind in before}


# --- follow -----------------------------------------------------------------------------------


def following():
    from weightwalk.ui.session import session

    return session().flow_following


def look(times=1):
    """Let the timer's function look, as Blender would."""
    for _ in range(times):
        following().tick()
    return following().said


def test_follow_builds_the_flow_anew_with_each_probe_file(bpy, tmp_path):
    folder = tmp_path / "flow"
    folder.mkdir()
    bpy.ops.weightwalk.load_flow(filepath=str(folder))
    flow = bpy.context.scene.weightwalk.flow
    assert flow.names == [] and flow.grows
    assert bpy.ops.weightwalk.follow_flow() == {"FINISHED"}
    assert bpy.app.timers.is_registered(following().timer)
    assert look() == "Waits for the first probe file."
    write(folder, 0)
    look()
    assert record(bpy).labels == ("step 0",)
    assert flow.names == ["step 0"]
    # What is asked for in the meantime is for the next press of the button.
    flow.limit = 9.0
    write(folder, 5, seed=5)
    (folder / "step-7.safetensors").write_bytes(b"\xff" * 99)
    write(folder, 10, seed=10)
    look(3)
    assert record(bpy).labels == ("step 0", "step 5", "step 10")
    assert record(bpy).settings.limit == 3.0
    assert "step 7 was left out: " in look(2)
    assert flow.names == ["step 0", "step 5", "step 10"]
    # The unit is the first step's, whatever comes.
    assert any("in step 0" in line for line in record(bpy).captions)
    (folder / "snapshots.json").write_text(json.dumps({"ended": True}))
    assert look(2).startswith("The training is over, after 3 steps.")
    assert not bpy.app.timers.is_registered(following().timer)


def test_follow_ends_when_something_else_is_loaded(flow, bpy, tmp_path):
    bpy.ops.weightwalk.follow_flow()
    bpy.ops.weightwalk.load_flow(filepath=str(write(tmp_path / "other")))
    assert "something else was loaded" in look()
    assert "load the folder" in said_by(bpy.ops.weightwalk.follow_flow)


def test_following_a_flow_ends_with_the_file(flow, bpy):
    bpy.ops.weightwalk.follow_flow()
    timer = following().timer
    bpy.ops.wm.read_homefile(use_empty=True)
    assert following() is None
    assert not bpy.app.timers.is_registered(timer)


# --- files ------------------------------------------------------------------------------------


def test_the_pictures_are_saved_with_a_report(flow, bpy, tmp_path):
    assert "choose a folder" in said_by(bpy.ops.weightwalk.save_flow)
    out = tmp_path / "out"
    bpy.context.scene.weightwalk.export_folder = str(out)
    assert bpy.ops.weightwalk.save_flow() == {"FINISHED"}
    there = {path.name for path in out.iterdir()}
    assert {"flow.png", "flow.gif", "report.json"} <= there
    with Image.open(out / "flow.gif") as film:
        assert film.n_frames == 3
    json.loads((out / "report.json").read_text())


# --- run probe --------------------------------------------------------------------------------


def test_without_torch_there_is_a_sentence_and_the_commands(bpy, monkeypatch):
    from weightwalk.ui import flow_probe

    monkeypatch.setattr(flow_probe, "missing", lambda: "probing takes torch: pip install it")
    assert not bpy.ops.weightwalk.run_probe.poll()
    assert bpy.ops.weightwalk.copy_command() == {"FINISHED"}
    assert "probing takes torch" in said_by(bpy.ops.weightwalk.run_probe)


def test_the_panel_imports_no_torch(bpy):
    """In a process of its own, for another test may have imported it."""
    lines = (
        "import sys, bpy, weightwalk",
        "weightwalk.register()",
        "from weightwalk.ui.flow_probe import missing",
        "missing()",
        "print({'torch', 'transformers'} & set(sys.modules))",
        "weightwalk.unregister()",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    said = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout
    assert "set()" in said


@pytest.fixture
def model(tmp_path):
    """Return the folder of a tiny Llama with a tokenizer of words; for tests marked `probe`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", *" ".join(TEXTS).split()])}
    cutter = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    cutter.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    folder = tmp_path / "little llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=cutter, unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.mark.probe
def test_a_model_is_probed_in_a_process_of_its_own_and_loaded(bpy, model, tmp_path):
    weights = bpy.context.scene.weightwalk
    assert "choose a model" in said_by(bpy.ops.weightwalk.run_probe)
    weights.flow.model = str(model)
    assert "choose a folder" in said_by(bpy.ops.weightwalk.run_probe)
    weights.export_folder = str(tmp_path / "out")
    weights.flow.text, weights.flow.keep = TEXTS[0], "all"
    assert bpy.ops.weightwalk.run_probe() == {"FINISHED"}
    flow = weights.flow
    assert flow.target == str(tmp_path / "out" / "little llama-probe.safetensors")
    assert (flow.about["layers"], flow.about["features"]) == (3, [32])
    assert [prompt["name"] for prompt in flow.about["prompts"]] == [TEXTS[0]]
    assert [text.strip() for _, text in flow.tokens] == TEXTS[0].split()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["little llama-probe.safetensors"]
    # An earlier file is kept; what is wrong with the model is a sentence, and leaves nothing.
    (model / "model.safetensors").write_bytes(b"nothing")
    said = said_by(bpy.ops.weightwalk.run_probe)
    assert "little llama" in said and len(said) < 400
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.probe
def test_a_probe_that_is_cancelled_leaves_neither_process_nor_file(bpy, model, tmp_path):
    from weightwalk.core.flow.settings import ProbeSettings
    from weightwalk.scene.probe import probe_apart_steps

    out = tmp_path / "out"
    work = probe_apart_steps(ProbeSettings(model), out / "a.safetensors")
    for now in work:
        if now.stage == "imports":
            break
    work.close()
    assert list(out.iterdir()) == []
