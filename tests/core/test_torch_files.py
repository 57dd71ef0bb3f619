"""PyTorch files: what torch writes, what others wrote with it, and what wants to run something."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import Checkpoint, open_checkpoint

from ..hostile.pickled import (
    call,
    group,
    name,
    plain,
    state,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_zip,
)

WEIGHT = np.arange(24, dtype="<f4").reshape(4, 6) / 7


def opened(path: Path, content: bytes) -> Checkpoint:
    path.write_bytes(content)
    return open_checkpoint(path)


def values(checkpoint: Checkpoint, name: str) -> Any:
    return np.asarray(checkpoint[name], checkpoint[name].values.native)


def of(offset: int, shape: tuple[int, ...], stride: tuple[int, ...], key: str = "0") -> bytes:
    """Return the pickle of a tensor in a storage of 24 numbers."""
    return tensor(storage(key, 24), offset, shape, stride)


# --- bytes written here, without torch --------------------------------------------------------

VIEWS = {
    "whole": ((0, (4, 6), (6, 1)), WEIGHT),
    "tied": ((0, (4, 6), (6, 1)), WEIGHT),
    "turned": ((0, (6, 4), (1, 6)), WEIGHT.T),
    "a part": ((8, (3, 4), (6, 1)), WEIGHT[1:, 2:]),
    "a column": ((5, (4,), (6,)), WEIGHT[:, 5]),
    "turned thrice": ((0, (3, 4, 2), (2, 6, 1)), WEIGHT.reshape(4, 3, 2).transpose(1, 0, 2)),
    "repeated": ((1, (3, 2, 4), (0, 6, 1)), np.broadcast_to(WEIGHT[:2, 1:5], (3, 2, 4))),
    "one": ((7, (), ()), WEIGHT[1, 1]),
    "nothing": ((24, (0, 5), (5, 1)), np.empty((0, 5), np.float32)),
    "of ones": ((0, (1, 24, 1), (99, 1, 77)), WEIGHT.reshape(1, 24, 1)),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_views_of_one_storage_are_read_exactly(tmp_path: Path, form: str) -> None:
    legacy = form == "legacy"
    where = storage("0", 24, legacy=legacy)
    pickled = state({key: tensor(where, *view) for key, (view, _) in VIEWS.items()})
    if legacy:
        content = torch_legacy(pickled, storages=struct.pack("<q", 24) + WEIGHT.tobytes())
    else:
        content = torch_zip(pickled, storages={"0": WEIGHT.tobytes()})
    with opened(tmp_path / "model.pt", content) as checkpoint:
        assert list(checkpoint) == list(VIEWS)
        for key, (_, wanted) in VIEWS.items():
            np.testing.assert_array_equal(np.asarray(checkpoint[key]), wanted)
            assert checkpoint[key].nbytes <= WEIGHT.nbytes
        np.testing.assert_array_equal(checkpoint["turned"].rows(2, 5), WEIGHT.T[2:5])
        np.testing.assert_array_equal(checkpoint["turned"].flat(3, 21), WEIGHT.T.ravel()[3:21])


def test_a_large_turned_matrix_is_read_by_panels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panels are smaller than it, and each block is another way through them."""
    for limit, size in (("_PANEL", 300_000), ("_RUN", 30_000), ("_LONGEST", 70_000)):
        monkeypatch.setattr(f"weightwalk.core.readers.strided.{limit}", size)
    shape = (170, 500)
    numbers = np.arange(shape[0] * shape[1], dtype="<i4").reshape(shape)
    turned = tensor(storage("0", numbers.size, "IntStorage"), 0, shape[::-1], (1, shape[1]))
    content = torch_zip(state({"w": turned}), storages={"0": numbers.tobytes()})
    with opened(tmp_path / "model.pt", content) as checkpoint:
        w = checkpoint["w"]
        for first, last in ((0, 100), (100, 103), (432, 500), (17, 18)):
            np.testing.assert_array_equal(w.rows(first, last, np.int32), numbers.T[first:last])


def sd(*names: str, key: str = "0") -> bytes:
    """Return the pickle of a state_dict, without head and end."""
    return b"}(" + b"".join(text(each) + of(0, (4, 6), (6, 1), key) for each in names) + b"u"


def optimizer(count: int) -> bytes:
    """Return the pickle of an optimiser's state: more numbers than the weights."""
    each = b"".join(plain(n) + sd("exp_avg", "exp_avg_sq", "max_exp_avg_sq") for n in range(count))
    return b"}(" + text("state") + b"}(" + each + b"u" + text("param_groups") + b"]u"


TWO = ("layers.0.q_proj.weight", "layers.1.q_proj.weight")
NESTED: dict[str, tuple[dict[str, bytes], tuple[str, ...], str]] = {
    "bare": ({each: of(0, (4, 6), (6, 1)) for each in TWO}, TWO, ""),
    "Lightning": (
        {"epoch": plain(3), "state_dict": sd(*TWO), "optimizer_states": b"]" + optimizer(2) + b"a"},
        TWO,
        r"those of state_dict are listed, left out are: optimizer_states \(6\)",
    ),
    "timm": (
        {"state_dict_ema": sd(*TWO), "state_dict": sd(*TWO)},
        TWO,
        r"those of state_dict are listed, left out are: state_dict_ema \(2\)",
    ),
    "fairseq": (
        {"model": sd(*TWO), "last_optimizer_state": optimizer(9)},
        TWO,
        r"last_optimizer_state \(27\)",
    ),
    "DataParallel": ({"model": sd(*(f"module._orig_mod.{each}" for each in TWO))}, TWO, ""),
    "an unknown name": ({"weights_of_mine": sd(*TWO), "step": plain(9)}, TWO, ""),
    "two networks": (
        {"encoder": sd(TWO[0]), "decoder": sd(TWO[0]), "optim": optimizer(1)},
        (f"encoder.{TWO[0]}", f"decoder.{TWO[0]}"),
        r"optim \(3\)",
    ),
    "module by module": (
        {"net": b"}(" + text("a") + sd("weight") + text("b") + sd("weight", "bias") + b"u"},
        ("a.weight", "b.weight", "b.bias"),
        "",
    ),
    "only averaged": ({"ema": sd(*TWO)}, TWO, ""),
}


@pytest.mark.parametrize("case", NESTED)
def test_the_weights_are_found(tmp_path: Path, case: str) -> None:
    content, names, told = NESTED[case]
    pickled = torch_zip(state(content), storages={"0": WEIGHT.tobytes()})
    with opened(tmp_path / "last.ckpt", pickled) as checkpoint:
        assert tuple(checkpoint) == names
        assert len(checkpoint.notes) == bool(told)
        assert re.search(told, "".join(checkpoint.notes))
        if case == "Lightning":
            assert checkpoint.metadata == {"epoch": "3"}


def test_what_training_leaves_beside_the_weights_is_passed_over(tmp_path: Path) -> None:
    """As in the checkpoints of argparse, numpy, datetime and pathlib users; nothing is made."""
    namespace = name("argparse", "Namespace") + b")\x81" + plain({"lr": 0.1}) + b"b"
    dtype = call(name("numpy", "dtype"), text("f8"), plain(False), plain(True))
    beside = {
        "args": namespace,
        "loss": call(name("numpy.core.multiarray", "scalar"), dtype, plain(b"12345678")),
        "when": call(name("datetime", "datetime"), plain(b"\x07\xe8\x01\x01\0\0\0\0\0\0")),
        "where": call(name("pathlib", "PosixPath"), text("/"), text("etc")),
        "seen": call(name("builtins", "set"), plain([1, 2])),
        "counts": call(name("collections", "defaultdict"), name("builtins", "int")),
        "state_dict": sd(*TWO),
    }
    content = torch_zip(state(beside), storages={"0": WEIGHT.tobytes()})
    with opened(tmp_path / "a.pth", content) as checkpoint:
        assert tuple(checkpoint) == TWO
        assert checkpoint.notes == ()


# --- what wants to run something --------------------------------------------------------------


class Evil:
    """What everybody tries first."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> Any:
        return self.what, self.arguments


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_that_wants_to_run_something_is_refused_by_name(
    tmp_path: Path, protocol: int, form: str
) -> None:
    pickled = pickle.dumps({"w": 1, "x": [Evil(shutil.rmtree, "/nowhere")]}, protocol)
    content = {"zip": torch_zip, "legacy": torch_legacy, "bare": bytes}[form](pickled)
    for ending in ("bin", "pt", "pkl"):
        with pytest.raises(CheckpointError, match=r"wants to call shutil\.rmtree .*refused"):
            opened(tmp_path / f"a.{ending}", content)


def test_a_module_of_a_program_is_refused_by_name(tmp_path: Path) -> None:
    module = name("ultralytics.nn.tasks", "DetectionModel") + b")\x81"
    with pytest.raises(CheckpointError, match=r"call ultralytics.nn.tasks.DetectionModel when"):
        opened(tmp_path / "yolo.pt", torch_zip(state({"model": module})))


def test_nothing_is_imported_for_a_pickle(tmp_path: Path) -> None:
    """Not even what is on the list; and neither pickle's machine nor torch is there at all."""
    path = tmp_path / "a.pt"
    beside = {"args": name("argparse", "Namespace") + b")\x81", "state_dict": sd("w")}
    path.write_bytes(torch_zip(state(beside), storages={"0": WEIGHT.tobytes()}))
    code = (
        "import sys; from weightwalk.core.readers import open_checkpoint\n"
        "before = set(sys.modules)\n"
        f"assert list(open_checkpoint({str(path)!r})) == ['w']\n"
        "new = {n for n in set(sys.modules) - before if not n.startswith('weightwalk')}\n"
        "assert not new & {'argparse', 'pickle', '_pickle', 'torch'}, new\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_forgotten_call_and_one_behind_the_end_are_refused(tmp_path: Path) -> None:
    pop = b"\x80\x02" + call(name("os", "system"), text("true")) + b"0"
    with pytest.raises(CheckpointError, match=r"wants to call os\.system .*refused"):
        opened(tmp_path / "a.pt", torch_zip(pop + state({"w": tensor()})[2:]))
    with pytest.raises(CheckpointError, match="bytes after its pickle"):
        opened(tmp_path / "a.pt", torch_zip(state({"w": tensor()}) + pop))


DAMAGED = {
    "behind its storage": (of(1, (4, 6), (6, 1)), "needs number 24 of a storage of 24"),
    "steps back": (of(9, (3,), (-1,)), "stride is not a number"),
    "far": (of(0, (2, 2), (2**62, 1)), "stride is not a number"),
    "larger than can be": (of(0, (2**40, 2**40), (0, 0)), "more elements"),
    "repeats for ever": (of(0, (2**40,), (0,)), "repeat 24 numbers"),
    "another storage": (of(0, (4, 6), (6, 1), "../data.pkl"), "is missing"),
    "a storage of another size": (tensor(storage("0", 25)), "has 96 bytes, its tensors need 100"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_tensors_that_are_not_in_their_storage(tmp_path: Path, case: str) -> None:
    pickled, says = DAMAGED[case]
    with pytest.raises(CheckpointError, match=says):
        opened(
            tmp_path / "a.pt", torch_zip(state({"w": pickled}), storages={"0": WEIGHT.tobytes()})
        )


# --- folders and shards -----------------------------------------------------------------------


def test_shards_of_an_index_and_what_lies_beside(tmp_path: Path) -> None:
    for number, each in enumerate(TWO):
        content = torch_zip(state({each: of(0, (4, 6), (6, 1))}), storages={"0": WEIGHT.tobytes()})
        (tmp_path / f"pytorch_model-{number}.bin").write_bytes(content)
    (tmp_path / "training_args.bin").write_bytes(torch_zip(pickle.dumps(Evil(print))))
    weight_map = {each: f"pytorch_model-{n}.bin" for n, each in enumerate(TWO)}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for path in (tmp_path, index):
        with open_checkpoint(path) as checkpoint:
            assert tuple(checkpoint) == TWO
            assert [t.file.name for t in checkpoint.values()] == list(weight_map.values())
            np.testing.assert_array_equal(np.asarray(checkpoint[TWO[1]]), WEIGHT)
    index.write_text(json.dumps({"weight_map": {"a": "../outside.bin"}}))
    with pytest.raises(CheckpointError, match="not a path inside"):
        open_checkpoint(tmp_path)


# --- what torch writes ------------------------------------------------------------------------


@pytest.mark.probe
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=str)
def test_all_that_torch_saves(tmp_path: Path, options: dict[str, Any]) -> None:
    import torch

    torch.manual_seed(1)
    made = torch.randn(9, 8)
    tensors = {
        kind: made.mul(9).to(getattr(torch, kind))
        for kind in (
            *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
            *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"),
        )
    }
    tensors |= {
        "turned": made.t(),
        "part": made[2:5, 3:].t(),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "tied": tensors["float32"],
        "parameter": torch.nn.Parameter(made.half()),
        "repeated": made[0].expand(5, 8),
        "empty": made[:0],
        "scalar": torch.tensor(2.5),
    }
    unread = {
        "sparse": made.to_sparse(),
        "meta": made.to("meta"),
        "complex": made.to(torch.complex64),
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
    }
    whole = {"state_dict": tensors | unread, "epoch": 7, "device": torch.device("cpu")}
    torch.save(whole, tmp_path / "a.pt", **options)
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert list(checkpoint) == [*tensors, *unread]
        for key, wanted in tensors.items():
            assert checkpoint[key].shape == tuple(wanted.shape)
            expected = wanted.detach()
            expected = expected.double() if expected.is_floating_point() else expected
            np.testing.assert_array_equal(np.asarray(checkpoint[key], np.float64), expected.numpy())
        assert all(checkpoint[key].reason for key in unread)
        assert checkpoint.metadata["epoch"] == "7"


@pytest.mark.probe
def test_a_models_and_its_optimizers_state_of_a_real_training_step(tmp_path: Path) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 6)).sum().backward()
    optimizer.step()
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
    torch.save(parts, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert list(checkpoint) == list(model.state_dict())
        assert re.search(r"left out are: optimizer \(\d+\)", checkpoint.notes[0])
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"call torch.nn.modules.container.Sequential when"):
        open_checkpoint(tmp_path / "whole.pt")


@pytest.mark.probe
def test_a_program_of_torchscript_says_so(tmp_path: Path) -> None:
    import torch

    with warnings.catch_warnings(action="ignore"):  # torch would rather have another format
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"TorchScript program.*state_dict"):
        open_checkpoint(tmp_path / "a.pt")


def test_other_parts_of_the_oldest_format_say_so(tmp_path: Path) -> None:
    import io
    import tarfile

    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match=r"tar archive \(PyTorch before"):
        opened(tmp_path / "a.pt", held.getvalue())


def test_an_old_storage_that_is_a_part_of_another(tmp_path: Path) -> None:
    """As PyTorch before 0.4 wrote them: key, offset and size in the persistent id."""
    whole = group(
        *(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), plain(24)),
        group(text("view"), plain(6), plain(12)),
    )
    pickled = state({"w": tensor(whole + b"Q", 2, (2, 5), (5, 1))})
    data = struct.pack("<q", 24) + WEIGHT.tobytes()
    with opened(tmp_path / "a.pth", torch_legacy(pickled, storages=data)) as checkpoint:
        wanted = WEIGHT.reshape(-1)[8:18].reshape(2, 5)
        np.testing.assert_array_equal(values(checkpoint, "w"), wanted)


def test_names_of_checkpoints_are_those_of_files_or_folders(tmp_path: Path) -> None:
    content = torch_zip(state({"w": of(0, (4, 6), (6, 1))}), storages={"0": WEIGHT.tobytes()})
    folder = tmp_path / "my-model"
    folder.mkdir()
    for file, name_of in (
        ("pytorch_model.bin", "my-model"),
        ("resnet50.pth", "resnet50"),
        ("best.pth.tar", "best"),
    ):
        assert opened(folder / file, content).name == name_of
