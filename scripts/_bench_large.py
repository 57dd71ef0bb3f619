#!/usr/bin/env python3
"""Measure Weightwalk on checkpoints that are larger than memory; what scripts/bench --large does.

The first one has real bytes: sharded BF16 with the shapes of an 8 B Llama and as many layers as
the size asks for. It is read to fields from the disk, in turns with `cat`, and a part of it from
the page cache. The second has the headers of a model of 671 B parameters (see _giant.py).
Both are removed afterwards.
"""

# Standard library only: on Linux a child's peak memory counts its parent's.
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from math import prod
from pathlib import Path

import _giant

GB = 1_000_000_000
LEFT = 10 * GB  # bytes of the disk that are left alone
SHARD = 4 * GB
WARM = 2 * GB  # read again and again from the page cache, which has to hold it
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}
LAYER = {
    "input_layernorm": (4096,),
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "post_attention_layernorm": (4096,),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
OUTSIDE = {"model.embed_tokens": (32000, 4096), "model.norm": (4096,), "lm_head": (32000, 4096)}

# Run by the interpreter that has Weightwalk. Seconds and bytes of all fields of some tensors, and
# how much memory that adds to what the process has once it is ready.
READ = """
import json, os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
import weightwalk
from weightwalk.core.errors import EmptyFieldError
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans
from weightwalk.core.settings import FieldSettings

def resident():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return [1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM")]

model, most, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = FieldSettings(rows=256, cols=256)
seconds, busy, (before, _) = [], [], resident()
for _ in range(times):
    begin, began, read = time.perf_counter(), time.process_time(), 0
    with weightwalk.open(model) as checkpoint:
        plans, _ = make_plans(list(checkpoint.values()), settings)
        for plan in plans:
            nbytes = sum(part.tensor.nbytes for part in plan.parts)
            if read + nbytes <= most:
                build(plan, settings)
                read += nbytes
    seconds.append(time.perf_counter() - begin)
    busy.append(time.process_time() - began)
# Not ru_maxrss, which begins with what the process held that started this one.
_, peak = resident()
print(json.dumps({"seconds": seconds, "busy": busy, "bytes": read, "added": peak - before}))
"""

# Runs the command line in this process, then says what it has read, by the system's own count.
COMMAND = """
import json, os, sys
from weightwalk.batch.cli import main
status = main(sys.argv[1:])
with open("/proc/self/io") as io:
    print(dict(line.split(": ") for line in io)["rchar"].strip(), file=sys.stderr)
sys.exit(status)
"""


class LargeError(Exception):
    """It cannot be measured here; the message says why."""


def shapes(size):
    """Return the tensors of a Llama of about so many bytes, as `_giant.write` takes them."""
    layer, outside = (2 * sum(map(prod, of.values())) for of in (LAYER, OUTSIDE))
    count = max(round((size - outside) / layer), 2)  # a depth field has two
    inside = {f"model.layers.{i}.{name}": of for i in range(count) for name, of in LAYER.items()}
    return [(f"{name}.weight", "BF16", shape) for name, shape in (OUTSIDE | inside).items()]


@contextmanager
def model(folder, every, config, shards, real):
    """Write a model for as long as it is needed; yield its files of weights."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _giant.write(folder, every, config, shards, real)
        yield sorted(folder.glob("*.safetensors"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_disk(folder, size):
    """Refuse what would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + LEFT:
        raise LargeError(
            f"{folder}: a checkpoint of {size / GB:.0f} GB and {LEFT / GB:.0f} GB to spare do not "
            f"fit on this disk with {free / GB:.0f} GB free: give --large a smaller size, or --out "
            "elsewhere"
        )


# --- measuring --------------------------------------------------------------------------------


def run(command, log):
    """Run a command to its end, its output in a file; return its seconds and peak memory."""
    begin = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen([str(c) for c in command], stdout=sink, stderr=sink)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):  # 3 is success with parts skipped
        tail = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
        raise LargeError(f"{log.stem}: status {process.returncode}\n{tail}")
    return {"seconds": seconds, "peak": 1024 * usage.ru_maxrss}


def last_line(log):
    """Return the JSON that a script printed last."""
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])


def forget(paths):
    """Drop files from the page cache; what is not on the disk yet is written first."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cat(paths):
    """Return the bytes a second at which `cat` reads files that are not in the page cache."""
    forget(paths)
    begin = time.perf_counter()
    subprocess.run(["cat", *map(str, paths)], stdout=subprocess.DEVNULL, check=True)
    return sum(path.stat().st_size for path in paths) / (time.perf_counter() - begin)


def fields(python, folder, work, *, most, times):
    """Read a checkpoint to fields on one core: up to so many bytes, so many times."""
    log = work / "large-fields.log"
    run([python, "-c", READ, folder, most, times], log)
    return last_line(log)


def read(python, work, size, repeat):
    """Measure a checkpoint of real bytes from the page cache and from the disk."""
    folder = work / "large-model"
    every = shapes(size)
    total = sum(map(_giant.size_of, every))
    check_disk(work, total)
    print(f"writing {total / GB:.1f} GB …", flush=True)
    with model(folder, every, CONFIG, -(-total // SHARD), [""]) as paths:
        print("from the page cache …", flush=True)
        warm = fields(python, folder, work, most=min(WARM, total), times=repeat + 1)
        rates, busy = ([warm["bytes"] / s for s in warm[key][1:]] for key in ("seconds", "busy"))
        turns = []
        for turn in range(repeat):
            print(f"from the disk, {turn + 1} of {repeat} …", flush=True)
            disk = cat(paths)
            forget(paths)
            cold = fields(python, folder, work, most=total, times=1)
            ours = cold["bytes"] / cold["seconds"][0]
            turns.append({"cat": disk, "ours": ours, "added": cold["added"]})
        print("meshes of all of it …", flush=True)
        out = work / "large-out"
        mesh = ["mesh", folder, "--field", "depth", "--export", "glb", "--out", out]
        whole = run([python, "-m", "weightwalk", *mesh], work / "large-mesh.log")
        shutil.rmtree(out)
    rate, most = statistics.median(rates), statistics.median(busy)
    return {"bytes": total, "warm": rate, "warm, by CPU time": most, "turns": turns, "mesh": whole}


def headers(python, work):
    """Measure the headers of a model that is far larger than any disk here."""
    folder, out, log = work / "giant-model", work / "giant-out", work / "giant.log"
    print("671 B parameters in 163 files …", flush=True)
    every, role = list(_giant.tensors(_giant.CONFIG)), "self_attn.kv_a_proj_with_mqa"
    with model(folder, every, _giant.CONFIG, _giant.SHARDS, ["layers.1.", role]):
        listed = [run([python, "-m", "weightwalk", "inspect", folder], log) for _ in range(3)]
        found = {"inspect": sorted(one["seconds"] for one in listed)[1], "tensors": len(every)}
        found["peak"] = max(one["peak"] for one in listed)
        command = [python, "-c", COMMAND]
        run([*command, "inspect", folder], log)
        found["opening"] = last_line(log)
        chosen = {"a layer": ("layers.1.", ["--layers", "1-1"])}
        chosen["depth"] = (role, ["--field", "depth", "--tensors", f"*.{role}.weight"])
        for name, (word, options) in chosen.items():
            mesh = ["mesh", folder, *options, "--export", "glb", "--out", out]
            one = run([*command, *mesh], log) | {"read": last_line(log)}
            one["bytes"] = sum(_giant.size_of(tensor) for tensor in every if word in tensor[0])
            found[name] = one
            shutil.rmtree(out)
    return found


def read_verdicts(large):
    """Return (what, measured, wanted, whether it holds) for each number that was promised."""
    size = f"{large['bytes'] / GB:.0f} GB"
    rate = large["warm"] / GB
    wanted = f">= 0.6 GB/s ({large['warm, by CPU time'] / GB:.2f} by CPU time)"
    rows = [("from the page cache, one core", f"{rate:.2f} GB/s", wanted, rate >= 0.6)]
    disk = statistics.median(turn["cat"] for turn in large["turns"])
    share = statistics.median(turn["ours"] / turn["cat"] for turn in large["turns"])
    what = f"{size} from a disk of {disk / GB:.2f} GB/s"
    wanted = ">= 60 % of cat" if disk < GB else "(a disk below 1 GB/s: >= 60 %)"
    rows.append((what, f"{100 * share:.0f} %", wanted, share >= 0.6 or disk >= GB))
    added = max(turn["added"] for turn in large["turns"])
    rows.append((f"memory that {size} add", megabytes(added), "<= 1500 MB", added <= 1.5 * GB))
    added = large["mesh"]["peak"]
    rows.append((f"memory of mesh, {size}", megabytes(added), "<= 1500 MB", added <= 1.5 * GB))
    return rows


def header_verdicts(giant):
    """Return rows as `read_verdicts` does."""
    seconds, peak = giant["inspect"], giant["peak"]
    rows = [("inspect, 671 B", f"{seconds:.2f} s", "< 5 s", seconds < 5)]
    rows.append(("its memory", megabytes(peak), "< 300 MB", peak < 300e6))
    for name in ("a layer", "depth"):
        one = giant[name]
        extra = one["read"] - giant["opening"] - one["bytes"]
        what = f"mesh of {name}, {one['bytes'] / 1e6:.0f} MB, reads more"
        rows.append((what, megabytes(extra), "<= 20 MB", extra <= 20e6))
    return rows


def megabytes(count):
    """Return bytes as text."""
    return f"{count / 1e6:.0f} MB"


def main():
    """Measure, print, save; status 1 where a promised number is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", type=float, metavar="GB", help="of the checkpoint of real bytes")
    parser.add_argument("--python", default=sys.executable, help="the one that has Weightwalk")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the figures")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="take the median of N")
    args = parser.parse_args()
    work = args.out.resolve().parent / "bench"
    work.mkdir(parents=True, exist_ok=True)
    found, rows = {}, []
    try:
        found["large"] = read(args.python, work, args.size * GB, args.repeat)
        rows += read_verdicts(found["large"])
        found["giant"] = headers(args.python, work)
        rows += header_verdicts(found["giant"])
    except LargeError as error:
        print(f"bench: {error}", file=sys.stderr)
        rows.append(("all of it", "no", "measured", False))
    for what, measured, wanted, holds in rows:
        print(f"{what:<44} {measured:>12}  {wanted:<30} {'holds' if holds else 'MISSED'}")
    checks = [dict(zip(("what", "measured", "wanted", "holds"), row, strict=True)) for row in rows]
    text = json.dumps(found | {"checks": checks}, indent=1)
    args.out.write_text(text + "\n", encoding="utf-8")
    print(f"\nsaved {args.out}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
