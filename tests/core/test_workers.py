"""`mesh --workers`: several processes make the very files that one makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import weightwalk
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.crew import Foreman
from weightwalk.core.errors import OutputError
from weightwalk.core.plans import make_plans, select
from weightwalk.core.settings import FieldSettings, OutputSettings, Settings, SurfaceSettings
from weightwalk.core.shelf import Shelf
from weightwalk.core.units import Keys, performed

COMMAND = [sys.executable, "-m", "weightwalk", "mesh"]
posix = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of all kinds of fields, with tensors that give no surface and some with holes."""
    rng = np.random.default_rng(11)
    heads = {"num_attention_heads": 4, "hidden_size": 64, "model_type": "llama"}
    shapes = {"self_attn.q_proj": (64, 64), "mlp.up_proj": (150, 64), "input_layernorm": (64,)}
    shapes |= {f"mlp.experts.{e}.w1": (40, 64) for e in range(3)}
    tensors = {
        f"model.layers.{i}.{name}.weight": (i + 1) * rng.standard_t(4, shape).astype(np.float32)
        for i in range(3)
        for name, shape in shapes.items()
    }
    tensors["model.layers.1.mlp.up_proj.weight"][3:9, 5:7] = np.nan
    tensors["model.layers.2.mlp.up_proj.weight"][4] = np.inf
    tensors["model.layers.0.self_attn.q_proj.weight"][:] = 0.0
    tensors |= {"constant": np.full((8, 8), 3.0), "nothing": np.full((8, 8), np.nan)}
    folder = tmp_path_factory.mktemp("models") / "little"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(heads))
    return folder


class Alone:
    """A crew of one, in this process: what it is told is text, what it makes are files."""

    def __init__(self, folder):
        self.folder, self.run = folder.absolute(), "a0"
        self.doing, self.waits, self.notes = "alone", False, []
        self.orders = []

    def work(self, orders):
        self.orders += orders
        for order in orders:
            assert performed(order.text) == {}
            yield order.unit.work


def written(folder, settings, hire=lambda _: nullcontext(), **output):
    """Run, and return the files, and the report without what it cost."""
    made = pipeline.run(settings, OutputSettings(folder, name="x", **output), hire=hire)
    *files, report = (path.read_bytes() for path in made.files)
    told = json.loads(report)
    stages = told.pop("stages")
    told["settings"].pop("output")
    return files, told, stages


def plans_of(settings):
    with weightwalk.open(settings.model) as checkpoint:
        return make_plans(select(checkpoint, settings.selection)[0], settings.field)[0]


@pytest.mark.parametrize(
    ("field", "surface", "limit"),
    [
        (FieldSettings(), SurfaceSettings(faces=1500), None),
        (FieldSettings(pool="absmax", smooth=1.0, sigma="all"), SurfaceSettings(level=1.5), None),
        (FieldSettings("depth", sigma="all"), SurfaceSettings(faces=4000), None),
        (FieldSettings("heads", pool="mean"), SurfaceSettings(quantile=0.8), None),
        (FieldSettings("experts"), SurfaceSettings(), None),
        (FieldSettings(), SurfaceSettings(faces=1500), 0.3),
    ],
)
def test_what_others_make_gives_the_same_bytes(model, tmp_path, field, surface, limit):
    settings = Settings(model, field=field, surface=surface)
    crew = Alone(tmp_path / "shared")
    crew.folder.mkdir()
    files, report, _ = written(tmp_path / "a", settings, max_stl_mb=limit)
    others, same, stages = written(
        tmp_path / "b", settings, lambda _: nullcontext(crew), max_stl_mb=limit
    )
    assert (others, same) == (files, report)
    assert not {"imports", "fields", "surfaces", "measure"} & set(stages)
    asked = [order.unit for order in crew.orders]
    assert "measure" in {unit.kind for unit in asked} or field.sigma == "tensor"
    if field.kind in {"depth", "experts"}:
        entries = {u.work for u in asked if u.kind == "pool" and "up_proj" in u.name}
        assert entries <= {150 * 64}, "each of the tensors of a field is a unit of its own"
    # Once more, and all is there.
    crew.orders.clear()
    again = written(tmp_path / "c", settings, lambda _: nullcontext(crew), max_stl_mb=limit)
    assert again[:2] == (files, report)
    assert not crew.orders


def test_the_longest_units_come_first(model, tmp_path):
    crew = Alone(tmp_path)
    written(tmp_path / "out", Settings(model), lambda _: nullcontext(crew))
    work = [order.unit.work for order in crew.orders]
    assert work == sorted(work, reverse=True)
    assert work[0] > work[-1]


def test_what_decides_a_surface_decides_its_key(model, tmp_path):
    settings = Settings(model)
    (*_, other, first) = plans_of(settings)

    def key(settings=settings, sigma=None, plan=first):
        with weightwalk.open(settings.model) as checkpoint:
            return Keys(checkpoint, settings).cut(plan, sigma)

    keys = [
        key(),
        key(sigma=1.0),
        key(plan=other),
        key(replace(settings, field=FieldSettings(pool="absmax"))),
        key(replace(settings, surface=SurfaceSettings(level=1.0))),
        key(plan=plans_of(replace(settings, field=FieldSettings(rows=9)))[-1]),
    ]
    # The same bytes at the same time in another folder; a file beside them; another time.
    again = tmp_path / "again"
    again.mkdir()
    file = again / "model.safetensors"
    file.write_bytes((model / "model.safetensors").read_bytes())
    stat = (model / "model.safetensors").stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    here = replace(settings, model=again)
    keys.append(key(here))
    (again / "quantize_config.json").write_text("{}")
    keys.append(key(here))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    keys.append(key(here))
    assert len(set(keys)) == len(keys)
    assert key() == keys[0] == key(replace(settings, colors="ice"))


@pytest.fixture
def order(model, tmp_path):
    """An order as it travels, and the model that it is for: (JSON, folder of the model)."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings, crew = Settings(folder), Alone(tmp_path)
    with weightwalk.open(folder) as checkpoint:
        foreman = Foreman(crew, checkpoint, settings)
        finished = foreman.surfaces(plans_of(settings)[:1], None)
        list(finished)
    (made,) = tmp_path.glob("*.unit")
    made.unlink()
    return json.loads(crew.orders[0].text), folder


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("package", "SettingsError", "and this machine 0.2: surfaces could differ"),
        ("source", "SettingsError", "weightwalk's sources"),
        ("file", "CheckpointError", "the files have changed"),
        ("config", "CheckpointError", "config.json differs"),
        ("no file", "CheckpointError", "no such file"),
        ("folder", "OutputError", "not the same for all"),
    ],
)
def test_a_worker_that_sees_something_else_says_so(order, tmp_path, what, kind, says):
    """It is told of in an answer, not made: another surface under the same key would be a lie."""
    order, folder = order
    # Of another run: this process does not have it open.
    (job,) = tmp_path.glob("*.job")
    job.rename(tmp_path / "b1.again.job")
    order["job"] = "b1.again"
    if what == "package":
        order["maker"]["numpy"] = "0.2"  # of the machine that asks
    elif what == "source":
        order["maker"]["weightwalk's sources"] = "0123456789ab"
    elif what == "file":
        os.utime(folder / "model.safetensors", ns=(0, 0))
    elif what == "config":
        (folder / "config.json").write_text('{"num_attention_heads": 8}')
    elif what == "no file":
        (folder / "model.safetensors").unlink()
        folder.joinpath("config.json").unlink()
        folder.rmdir()
    else:
        order["folder"] = str(tmp_path / "elsewhere")
    reply = performed(json.dumps(order))
    assert reply["error"] == kind
    assert says in reply["said"]
    assert "\n" not in reply["said"]
    assert not list(tmp_path.glob("*.unit"))


def test_a_file_is_whole_or_it_is_not_there(tmp_path):
    shelf, rng = Shelf(tmp_path, "a0"), np.random.default_rng(2)
    arrays = [
        rng.normal(size=(5, 3)).astype(np.float32),
        np.asfortranarray(rng.normal(size=(4, 6))),
        np.zeros((0, 3), np.int32),
        rng.random(7) > 0.5,
    ]
    facts = {"low": float("nan"), "high": float("inf"), "x": 0.1, "name": "層\udc80\n"}
    shelf.keep("key", facts, arrays)
    said, same = shelf.read("key")
    assert repr(said) == repr(facts)
    for array, one in zip(arrays, same, strict=True):
        assert array.dtype == one.dtype
        np.testing.assert_array_equal(array, one)
    path = shelf.path("key")
    whole = path.read_bytes()
    huge = whole.replace(b"[5, 3]", b"[5, 3%018d]" % 0)
    cuts = [whole[:n] for n in range(0, len(whole), 7)]
    flips = [whole[:n] + bytes([whole[n] ^ 4]) + whole[n + 1 :] for n in range(0, len(whole), 5)]
    for damaged in (*cuts, *flips, huge, whole + b"x", b"[" * 100_000, b"\n" * 99):
        path.write_bytes(damaged)
        with pytest.raises(OutputError, match=r"key\.unit: "):
            shelf.read("key")
        assert not shelf.has("key")
        assert not path.exists(), "what is damaged is in the way of what is made anew"
    path.write_bytes(whole)
    path.rename(shelf.path("another"))
    assert not shelf.has("another"), "the file of another key"
    shelf.sweep()
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A model that takes two processes some seconds, and the files that one makes of it."""
    folder = tmp_path_factory.mktemp("slow")
    rng = np.random.default_rng(0)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(8)]
    tensors = {name: rng.standard_normal((256, 256)).astype(np.float32) for name in names}
    save_file(tensors, folder / "slow.safetensors")
    return folder / "slow.safetensors"


OPTIONS = ["--name=x", "--rows=256", "--cols=256", "--faces=200000", "--export=stl"]


def start(model, out, *options):
    command = [*COMMAND, str(model), f"--out={out}", *OPTIONS, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def workers_of(process):
    """Return the processes that one has started, on Linux."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []


def until(process, what):
    """Wait until something holds, as long as a process runs."""
    while not what():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@linux
def test_one_that_is_killed_is_replaced(slow, tmp_path):
    whole = start(slow, tmp_path / "one")
    shared = tmp_path / "shared"
    process = start(slow, tmp_path / "two", "--workers=2", f"--shared={shared}")
    until(process, lambda: len(list(shared.glob("*.unit"))) >= 2)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, whole.wait(60)) == (0, 0), said
    assert said.count("a worker broke on it, another one made it: it was ended by SIGKILL") == 1
    one, two = ((tmp_path / name / "x.stl").read_bytes() for name in ("one", "two"))
    assert one == two
    assert {path.suffix for path in shared.iterdir()} == {".unit"}
    assert len(list(shared.iterdir())) == 8
    whole.communicate()


@linux
def test_a_unit_that_breaks_all_is_given_up(slow, tmp_path):
    process = start(slow, tmp_path / "out", "--workers=1")
    killed = set()
    while process.poll() is None:
        for pid in set(workers_of(process)) - killed:
            # Not before it is that process, and not what it was forked from.
            with suppress(OSError):
                if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        time.sleep(0.01)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "3 workers broke on it; of the last one: it was ended by SIGKILL" in said
    assert len(killed) == 3
    assert not (tmp_path / "out").exists()


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_it_takes_its_workers_along(slow, tmp_path, number):
    shared = tmp_path / "shared"
    process = start(slow, tmp_path / "out", "--workers=2", f"--shared={shared}")
    until(process, lambda: list(shared.glob("*.unit")))
    pids = workers_of(process)
    assert len(pids) == 2
    process.send_signal(number)
    begin = time.monotonic()
    said = process.communicate(timeout=20)[1]
    while any(map(running, pids)):
        assert time.monotonic() - begin < 8
        time.sleep(0.01)
    if number == signal.SIGKILL:
        assert not list(shared.glob("*.part")), "they tidy up by themselves"
    else:
        assert process.returncode == 130
        assert said.splitlines()[-1] == "weightwalk: interrupted"
        assert not (tmp_path / "out").exists()
        assert {path.suffix for path in shared.iterdir()} == {".unit"}


@posix
def test_a_disk_that_is_full_is_said_once(slow, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [*COMMAND, str(slow), f"--out={tmp_path / 'out'}", *OPTIONS, "--workers=2"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"weightwalk: cannot write into {tmp_path}")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers=0"], "workers: 0 is not between 1 and 256"),
        (["--shared=d"], "--workers or --scheduler"),
        (["--scheduler=tcp://a:1"], "--shared, a folder"),
        (["--workers=2", "--scheduler=tcp://a:1", "--shared=d"], "exclude one another"),
        (["--workers=1", "--shared={model}/model.safetensors"], "cannot write into"),
    ],
)
def test_options_that_make_no_sense_are_one_line(model, tmp_path, capsys, options, says):
    from weightwalk.batch.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    given = [option.format(model=model) for option in options]
    status = main(["mesh", str(model), f"--out={tmp_path / 'out'}", *given])
    for number, handler in before.items():
        signal.signal(number, handler)
    said = capsys.readouterr().err
    assert (status, len(said.splitlines())) == (2, 1)
    assert says in said
    assert not (tmp_path / "out").exists()
