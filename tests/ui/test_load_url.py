"""Models on other machines in the sidebar, from a web server on loopback."""

from __future__ import annotations

from time import monotonic

import pytest

from ..core import serving
from ..core.serving import Server
from .operators import load, said_by, surfaces

pytestmark = pytest.mark.bpy


@pytest.fixture
def server(bpy, checkpoint):
    """Serve the little model; Blender may go online, and keeps what it fetches in a new folder."""
    from weightwalk.ui.preferences import cache_folder

    bpy.context.preferences.system.use_online_access = True
    blocks = cache_folder(bpy.context) / "blocks"
    assert not blocks.exists()
    with Server() as server:
        server.files["/little.safetensors"] = checkpoint.read_bytes()
        yield server
    for file in sorted(blocks.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    if blocks.exists():
        blocks.rmdir()


@pytest.fixture
def url(server):
    return f"{server.url}/little.safetensors"


def test_a_url_is_listed_built_inspected_and_refined_like_a_file(bpy, url, checkpoint):
    from weightwalk.ui.preferences import cache_folder, recent_models

    assert bpy.ops.weightwalk.from_web(address=f" {url} ", build=True) == {"FINISHED"}
    weights = bpy.context.scene.weightwalk
    assert weights.path == url
    assert recent_models(bpy.context)[0] == url
    assert "to fetch up to" in weights.cost
    assert any((cache_folder(bpy.context) / "blocks").iterdir())
    faces = {name: len(thing.data.polygons) for name, thing in surfaces(bpy).items()}
    name = next(n for n, o in surfaces(bpy).items() if o["plan"].endswith("1.mlp.up_proj.weight"))
    assert bpy.ops.weightwalk.inspect(surface=name, cell=700) == {"FINISHED"}
    read = weights.reading
    assert bpy.ops.weightwalk.refine() == {"FINISHED"}

    assert load(bpy, checkpoint, build=True) == {"FINISHED"}
    assert {n: len(thing.data.polygons) for n, thing in surfaces(bpy).items()} == faces
    bpy.ops.weightwalk.inspect(surface=name, cell=700)
    assert weights.reading == read


def test_a_saved_scene_keeps_the_url_and_builds_again(bpy, url, server, tmp_path):
    load(bpy, url)
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    from weightwalk.ui.session import session

    session().hold(None)  # as in another session
    bpy.ops.wm.open_mainfile(filepath=path)
    weights = bpy.context.scene.weightwalk
    assert weights.path == url
    server.forget()
    bpy.ops.weightwalk.choose(what="attention")
    assert not server.asked  # a click must not wait for a server
    assert weights.cost == "what this costs is known as soon as its headers are fetched"
    assert bpy.ops.weightwalk.build() == {"FINISHED"}
    assert len({o["plan"] for o in surfaces(bpy).values()}) == 3
    assert "3 tensors" in weights.cost


def test_what_signs_a_url_serves_the_session_and_is_not_saved(bpy, url, server, tmp_path):
    from weightwalk.ui.preferences import recent_models
    from weightwalk.ui.session import session

    load(bpy, f"{url}?sig=hush", build=True)
    assert bpy.context.scene.weightwalk.path == f"{url}?…"
    assert recent_models(bpy.context)[:1] != [f"{url}?…"]  # nothing would be found by it
    bpy.ops.weightwalk.choose(what="attention")
    assert bpy.ops.weightwalk.build() == {"FINISHED"}
    assert bpy.ops.weightwalk.inspect(surface=next(iter(surfaces(bpy))), cell=700) == {"FINISHED"}
    assert bpy.ops.weightwalk.refine() == {"FINISHED"}
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False)
    assert b"hush" not in path.read_bytes()
    session().hold(None)  # as in another session
    assert "load the model by its whole URL" in said_by(bpy.ops.weightwalk.build)


def test_without_online_access_nothing_is_asked_and_the_person_is_told_how(bpy, url, server):
    load(bpy, url, build=True)
    server.forget()
    bpy.context.preferences.system.use_online_access = False
    name = next(iter(surfaces(bpy)))
    weights = bpy.context.scene.weightwalk
    ops = bpy.ops.weightwalk
    for refused in (
        lambda: ops.load_model(filepath=url),
        lambda: ops.from_web(address="org/name"),
        ops.build,
        lambda: ops.inspect(surface=name, cell=0),
    ):
        assert "System → Network → Allow Online Access" in said_by(refused)
    ops.choose(what="none")
    assert "Allow Online Access" in weights.cost
    assert not server.asked
    assert surfaces(bpy)
    assert weights.path == url


def test_what_cannot_be_loaded_is_one_sentence_and_changes_nothing(bpy, url, server, weights):
    before = weights.path
    server.always = serving.status(404)
    for address, says in (
        (url, "no such file"),
        ("", "give a URL"),
        ("gpt two", "give a URL"),
        ("https://me:secret@host/m.safetensors", "with a password"),
    ):
        said = said_by(bpy.ops.weightwalk.from_web, address=address)
        assert says in said
        assert "secret" not in said
    assert weights.path == before


def test_a_name_on_the_hub_is_short_for_its_url(bpy, server, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    content, commit = checkpoint.read_bytes(), "0123456789abcdef0123456789abcdef01234567"
    server.files[f"/org/name/resolve/{commit}/model.safetensors"] = content
    server.hub["/api/models/org/name/revision/main"] = {
        "sha": commit,
        "siblings": [{"rfilename": "model.safetensors", "size": len(content), "blobId": "b1"}],
    }
    assert bpy.ops.weightwalk.from_web(address="org/name") == {"FINISHED"}
    weights = bpy.context.scene.weightwalk
    assert (weights.path, weights.title) == ("hf://org/name", "org/name")


def test_while_headers_come_the_window_is_free(bpy, server, url):
    from weightwalk.ui.places import located, opening

    server.always = serving.stall
    steps = opening(located(url))
    begin = monotonic()
    assert {next(steps).stage for _ in range(3)} == {"open"}
    steps.close()
    assert monotonic() - begin < 2.0
