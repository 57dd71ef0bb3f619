"""The command `weightwalk catalog`: what it makes, what it makes again, and what may go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.batch.catalog_lock import LOCK, locked
from weightwalk.batch.cli import main
from weightwalk.core.errors import OutputFolderError

CATALOG = [sys.executable, "-m", "weightwalk", "catalog"]
SLOW = '[[model]]\npath = "slow"\nexport = "stl"\nrows = 512\ncols = 512\nfaces = 2000000\n'


def write_model(path, *, layers=1, size=32, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(layers)]
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: rng.standard_normal((size, size)).astype(np.float32) for name in names}
    save_file(tensors, path / "model.safetensors")


@pytest.fixture
def job_file(tmp_path):
    """Two models, the first of them in two densities; only GLBs."""
    write_model(tmp_path / "in" / "first model")
    write_model(tmp_path / "in" / "second", seed=1)
    path = tmp_path / "in" / "jobs.toml"
    path.write_text(
        'title = "Two"\n[defaults]\nexport = ["glb"]\nfaces = 500\n'
        '[[model]]\npath = "first model"\nfaces = [200, 500]\n[[model]]\npath = "second"\n'
    )
    return path


@pytest.fixture
def run(job_file, tmp_path, capsys):
    """Run the command in this process: a function of more arguments to (status, stdout, stderr)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        status = main(["catalog", str(job_file), "--out", str(tmp_path / "out"), *arguments])
        return status, *capsys.readouterr()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def times(folder):
    """Return when each part's files were written."""
    files = [f for part in folder.glob("*/*/") for f in part.iterdir() if f.suffix != ".js"]
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in files}


def changed(before, after):
    """Return the parts of which something was written."""
    return {name.rpartition("/")[0] for name in after if after[name] != before.get(name)}


def hidden(folder):
    return [path for path in folder.rglob(".*") if path.name.startswith(".weightwalk")]


def test_every_density_has_its_files_and_the_page_all_of_them(run, tmp_path):
    out = tmp_path / "out"
    status, said, complained = run("--jobs", "3", "--title", "Three")
    assert (status, said.splitlines()[0]) == (0, "3 parts: 3 done")
    lines = complained.splitlines()
    assert sorted(line.split("] ")[1].split(",")[0] for line in lines) == [
        "first-model faces-200: done",
        "first-model faces-500: done",
        "second faces-500: done",
    ]
    assert {line[:5] for line in lines} == {"[1/3]", "[2/3]", "[3/3]"}
    names = {p.name for p in (out / "first-model" / "faces-200").iterdir()}
    assert names >= {"first-model-faces-200.glb", "report.json", "job.json"}
    report = json.loads((out / "first-model" / "faces-200" / "report.json").read_text())
    # What is published does not tell where this machine keeps its files.
    assert report["settings"]["model"] == "first model"
    assert report["settings"]["output"]["directory"] == "../out/first-model/faces-200"
    assert sum(s["faces"] for s in report["surfaces"]) <= 200
    page = (out / "index.html").read_text()
    assert "Three" in page
    assert "first model" in page
    assert not hidden(out)


def test_what_is_done_is_not_done_again(run, job_file, tmp_path):
    out = tmp_path / "out"
    assert run()[0] == 0
    before = times(out)
    status, said, _ = run()
    assert (status, said.splitlines()[0], times(out)) == (0, "3 parts: 3 up to date", before)

    # Another content, whatever the file's time says.
    model = job_file.parent / "second" / "model.safetensors"
    data, stamp = bytearray(model.read_bytes()), model.stat().st_mtime_ns
    data[-1] ^= 1
    model.write_bytes(data)
    os.utime(model, ns=(stamp, stamp))
    assert run()[0] == 0
    assert changed(before, before := times(out)) == {"second/faces-500"}

    # A result that is gone, or another than the one that was made.
    (out / "first-model" / "faces-200" / "first-model-faces-200.glb").unlink()
    (out / "first-model" / "faces-500" / "report.json").write_text("{}")
    assert run()[0] == 0
    assert changed(before, before := times(out)) == {
        "first-model/faces-200",
        "first-model/faces-500",
    }

    # Other options; and what is no longer made goes.
    job_file.write_text(job_file.read_text() + 'colors = "ice"\nexport = "stl"\n')
    assert run()[0] == 0
    assert changed(before, before := times(out)) == {"second/faces-500"}
    there = {p.name for p in (out / "second" / "faces-500").iterdir()}
    assert there == {"second-faces-500.stl", "report.json", "job.json"}

    # Moved as a whole, nothing has changed.
    job_file.parent.rename(tmp_path / "elsewhere")
    status = main(["catalog", str(tmp_path / "elsewhere" / "jobs.toml"), "--out", str(out)])
    assert (status, times(out)) == (0, before)


def test_a_model_that_fails_is_told_and_does_not_stop_the_others(run, job_file, tmp_path):
    out = tmp_path / "out"
    assert run()[0] == 0
    before = times(out)
    with job_file.open("a") as file:
        file.write('[[model]]\npath = "nowhere"\n[[model]]\npath = "second"\nname = "cut"\n')
        file.write('tensors = "nothing*"\n')
    model = job_file.parent / "first model" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:100])
    status, said, complained = run()
    assert (status, said.splitlines()[0]) == (3, "5 parts: 1 up to date, 4 failed")
    (line,) = (line for line in complained.splitlines() if " nowhere " in line)
    missing = "nowhere: there is no such file or folder (paths are relative to the job file"
    assert re.search(rf"faces-500: failed, \d+ s: {re.escape(missing)}, in ", line)
    assert line.endswith(f"{job_file.parent.resolve()})")
    assert "no tensor matches 'nothing*'" in complained
    # What was made of it before is still shown, and not as if it were new.
    assert times(out) == before
    page = (out / "first-model" / "index.html").read_text()
    assert "made earlier" in page
    assert "first-model-faces-500.glb" in page
    assert f"{missing})" in (out / "nowhere" / "index.html").read_text()
    # But not where it is damaged.
    (out / "first-model" / "faces-500" / "report.json").write_text('{"files": []}')
    assert run()[0] == 3
    assert "first-model-faces-500.glb" not in (out / "first-model" / "index.html").read_text()


def test_sentences_on_the_page_do_not_tell_where_this_machine_keeps_its_files(run, job_file):
    job_file.write_text('[[series]]\npath = "second"\nexport = "glb"\n')
    status, _, complained = run()
    assert (status, len(complained.splitlines())) == (1, 1)
    page = (job_file.parents[1] / "out" / "second" / "index.html").read_text()
    assert "a series has two or more" in page
    assert str(job_file.parents[1]) not in page + complained


def test_links_lead_to_where_the_system_says(job_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / "link").symlink_to(job_file.parent)
    (tmp_path / "out").mkdir()
    (tmp_path / "deep" / "out").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "deep" / "down" / "link")
    assert main(["catalog", "jobs.toml", "--out", str(tmp_path / "deep" / "out")]) == 0
    assert main(["catalog", str(job_file), "--out", str(tmp_path / "out")]) == 0
    assert "3 up to date" in capsys.readouterr().out


def test_where_all_fail_the_status_is_1_and_the_page_says_why(run, job_file, tmp_path):
    job_file.write_text('[[model]]\npath = "none"\nexport = "glb"\n')
    status, said, _ = run()
    assert (status, said.splitlines()[0]) == (1, "1 part: 1 failed")
    assert "no such file" in (tmp_path / "out" / "none" / "index.html").read_text()


def test_what_was_skipped_is_status_3_also_when_it_is_up_to_date(run, job_file):
    zero = {"a": np.zeros((8, 8), np.float32), "b": np.eye(8, dtype=np.float32)}
    save_file(zero, job_file.parent / "second" / "model.safetensors")
    assert run()[0] == 3
    assert run()[0] == 3


def test_bad_input_is_status_2_before_any_work(run, job_file, tmp_path):
    for arguments, words in (
        (["--jobs", "0"], "jobs: 0"),
        (["--max-stl-mb", "nan"], "max-stl-mb: nan"),
    ):
        status, said, complained = run(*arguments)
        assert (status, said, len(complained.splitlines())) == (2, "", 1)
        assert words in complained
    job_file.write_text(job_file.read_text() + "facess = 3\n")
    status, _, complained = run()
    assert (status, len(complained.splitlines())) == (2, 1)
    assert "line 10: [[model]] 2: unknown key 'facess'; did you mean 'faces'?" in complained
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_status_2(job_file, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["catalog", str(job_file), "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"weightwalk: cannot write into {out}: ")


def test_parts_of_an_earlier_job_file_are_left_alone_and_named(run, job_file, tmp_path):
    assert run()[0] == 0
    text = job_file.read_text().replace("faces = [200, 500]", "faces = 200")
    job_file.write_text(text.replace('"second"', '"second"\nname = "Two!"'))
    status, _, complained = run()
    assert status == 0
    assert "left alone and not on the page: first-model/faces-500, second/faces-500" in complained
    assert (tmp_path / "out" / "second" / "faces-500" / "report.json").exists()
    assert "second/" not in (tmp_path / "out" / "index.html").read_text()


def test_names_out_of_a_job_file_reach_neither_folders_nor_the_terminal(run, job_file, tmp_path):
    names = ["../../up", "</script><script>", "a\\u001b[31mb", "\\u202ertl", "x" * 500, "層"]
    tables = (f'[[model]]\npath = "second"\nname = "{name}"\nexport = "glb"\n' for name in names)
    job_file.write_text("".join(tables))
    status, said, complained = run()
    assert status == 0
    assert (said + complained).replace("\n", "").isprintable()
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    there = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    slugs = {"up", "script-script", "a-31mb", "rtl", "x" * 60, "model"}
    assert there == {"assets", *slugs}
    assert "<script><" not in (tmp_path / "out" / "index.html").read_text().replace(" ", "")


def test_a_second_catalog_waits_for_its_turn_and_is_refused(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with locked(out), pytest.raises(OutputFolderError, match="another catalog"), locked(out, 0.2):
        pass
    assert not (out / LOCK).exists()
    # A file that a process has left that is dead is nobody's.
    (out / LOCK).write_text("1234")
    assert run()[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files by a POSIX call")
def test_a_disk_that_fills_is_said_and_leaves_nothing_half_written(job_file, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    out = tmp_path / "out"
    command = [*CATALOG, str(job_file), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed = [line for line in done.stderr.splitlines() if "failed" in line]
    assert len(failed) == 3
    assert all("cannot write ../out/" in line for line in failed)
    assert done.stderr.endswith(f"cannot write the gallery in {out}: File too large\n")
    assert not list(out.glob("*/*/*"))
    assert not hidden(out)


def descendants(pid):
    """Return the processes below one, on Linux."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def started(process, out):
    """Wait until a part is being made; return the processes that make it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None
        if list(out.glob("*/*/.weightwalk-*")) and (below := descendants(process.pid)):
            return below
        time.sleep(0.02)
    raise AssertionError("nothing is being made")


def gone(pids):
    until = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, pids
        time.sleep(0.05)


@pytest.fixture
def slow(tmp_path):
    """Start a catalog that takes a while: the process, its folder, what makes the first part."""
    write_model(tmp_path / "slow", layers=60, size=512)
    (tmp_path / "jobs.toml").write_text(SLOW)
    command = [*CATALOG, str(tmp_path / "jobs.toml"), "--out", str(tmp_path / "out")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield process, tmp_path / "out", started(process, tmp_path / "out")
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
class TestStopped:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_ends_its_children_and_leaves_nothing(self, slow, number):
        process, out, below = slow
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said.split()) == (130, ["weightwalk:", "interrupted"])
        gone(below)
        assert not hidden(out)
        assert not [path for path in out.rglob("*") if path.is_file()]

    def test_killed_its_children_end_and_the_next_run_goes_on(self, slow, tmp_path):
        process, out, below = slow
        process.kill()
        process.wait()
        # Another model, so that it does not take long; the same folder, where all is left.
        write_model(tmp_path / "slow")
        command = [*CATALOG, str(tmp_path / "jobs.toml"), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        gone(below)
        assert not hidden(out)

    def test_a_part_that_is_killed_fails_alone(self, slow):
        process, out, below = slow
        os.kill(below[0], signal.SIGKILL)
        said, complained = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "it was ended by SIGKILL" in complained
        assert "1 part: 1 failed" in said
        assert not hidden(out)
        assert "SIGKILL" in (out / "slow" / "index.html").read_text()
