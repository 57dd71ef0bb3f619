"""Where a model is: a path, a name in the Hugging Face cache, a URL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from weightwalk.core.errors import CheckpointError
from weightwalk.core.location import Url, cached_model, is_url, location, stored

OLD, NEW = "1" * 40, "2" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Make a cache with two commits of a model; main is the older one, v2 the newer."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hf" / "hub" / "models--org--name"
    for commit in (OLD, NEW):
        (folder / "snapshots" / commit).mkdir(parents=True)
    for ref, commit in (("main", OLD), ("v2", NEW), ("refs/pr/1", NEW), ("odd", "../../..")):
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return folder


def test_a_path_stays_what_it_is_also_where_nothing_is(hub):
    for text in ("model.safetensors", "./org/name.gguf", "/no/such place", "~", "a/b/c", "späße"):
        assert location(text) == Path(text)
        assert stored(text) == Path(text)
    assert location(Path("x")) == Path("x")
    assert location("file:///a/b%20c.pt") == Path("/a/b c.pt")


def test_a_drive_of_windows_is_no_scheme():
    for text in (r"C:\models\m.safetensors", "c:/models", "C://models"):
        assert not is_url(text)
        assert location(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "name", "model"),
    [
        ("https://host/a/m.safetensors?download=true", "m.safetensors", ""),
        ("hf://org/name", "name", "org/name"),
        ("HF://org/name@v2/sub/m.gguf", "m.gguf", "org/name"),
        ("s3://bucket", "bucket", ""),
        ("simplecache::s3://bucket/m.pt", "m.pt", ""),
    ],
)
def test_a_url_stays_whole_through_text(hub, text, name, model):
    url = location(text)
    assert isinstance(url, Url)
    assert (str(url), url.name, url.model) == (text, name, model)
    assert stored(str(url)) == url == location(url) == url.absolute()
    assert Url(text, hub) == url  # where its bytes are kept does not tell one model from another


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("https://host/a.gguf?download=true", "https://host/a.gguf?download=true"),
        ("https://host/a.gguf?download=true&sig=x", "https://host/a.gguf?…"),
        ("https://host/a.gguf#token", "https://host/a.gguf#…"),
        ("https://token@host/a.gguf", "https://…@host/a.gguf"),
        ("s3://me:p@ss@bucket/a", "s3://…@bucket/a"),
        ("ssh://me@host/a@b", "ssh://me@host/a@b"),
        ("hf://org/name@step:1/a", "hf://org/name@step:1/a"),
    ],
)
def test_what_may_be_secret_in_a_url_is_not_seen(text, seen):
    assert str(Url(text)) == seen == str(Url(seen))
    assert Url(text).text == text


def test_a_name_is_looked_up_in_the_cache(hub, monkeypatch):
    snapshots = hub / "snapshots"
    assert location("org/name") == snapshots / OLD
    assert location("org/name@main") == snapshots / OLD
    assert location("org/name@v2") == location("org/name@refs/pr/1") == snapshots / NEW
    assert location(f"org/name@{NEW}") == snapshots / NEW
    for absent in ("org/other", "org/name@v3", "org/name@odd", "org/name@" + "3" * 40):
        assert location(absent) == Path(absent)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub.parent / "elsewhere"))
    assert cached_model("org/name") is None


def test_without_a_main_branch_the_newest_commit_counts(hub):
    (hub / "refs" / "main").unlink()
    os.utime(hub / "snapshots" / NEW, (10, 10))
    os.utime(hub / "snapshots" / OLD, (20, 20))
    assert location("org/name") == hub / "snapshots" / OLD


def test_a_folder_of_the_cache_stands_for_its_snapshot(hub):
    assert location(hub) == hub / "snapshots" / OLD
    (hub.parent / "models--org--empty").mkdir()
    assert location(hub.parent / "models--org--empty").name == "models--org--empty"


def test_what_lies_here_comes_before_the_cache(hub, tmp_path):
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert location("org/name") == Path("org/name")
    (tmp_path / "org" / "name").rmdir()
    (tmp_path / "org" / "name").symlink_to("nowhere")  # to be told, not passed over
    assert location("org/name") == Path("org/name")


def test_no_name_leads_out_of_the_cache(hub):
    for name in ("../org/name", "org/../name", "org/name/deeper", "org\\name", "a\0b/c", "", "/"):
        with pytest.raises(CheckpointError, match="cannot be the name"):
            cached_model(name)
    for revision in ("..", "../main", "../../../../etc"):
        with pytest.raises(CheckpointError):
            cached_model(f"org/name@{revision}")
