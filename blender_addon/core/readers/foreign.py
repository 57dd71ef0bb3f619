"""What a file or a folder is that no reader takes, and what would make one of it that is read."""

from __future__ import annotations

from ..text import printable
from .datafile import Place
from .endings import ALL

UNKNOWN = "this is not a checkpoint of a known format"

_HEAD = 264  # bytes; a tar has its mark at 257
_TF2ONNX = "convert it to ONNX with tf2onnx: python -m tf2onnx.convert"

_KERAS = f"a Keras model; {_TF2ONNX} --keras FILE --output model.onnx"
_TRANSFORMERS = "open it with transformers 4 and save it: AutoModel.from_pretrained(FOLDER, {})"
_GRAPH = f"a graph of TensorFlow; {_TF2ONNX} --graphdef FILE --output model.onnx"
_SAVED_MODEL = f"a SavedModel of TensorFlow; {_TF2ONNX} --saved-model FOLDER --output model.onnx"
_TF_CHECKPOINT = (
    f"a checkpoint of TensorFlow; {_TF2ONNX} --checkpoint FILE.meta --output model.onnx"
)
_CORE_ML = "a Core ML model, which nothing converts back: take the model that it was made of"
_PICKLE = "a Python pickle, which can run code and is never opened; save its arrays as .npz"
_DCP = (
    "a checkpoint of torch.distributed; make it one file: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pt"
)
_GGML = (
    "a file of llama.cpp before GGUF; convert it to GGUF with llama.cpp's "
    "convert_llama_ggml_to_gguf.py"
)
_ORBAX = (
    "a checkpoint of Orbax (JAX); restore it with orbax-checkpoint and save it with safetensors"
)

# Beginnings of files that are not what their names say.
_MISTAKES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<", "a web page or XML (a download that went wrong?)"),
)
# Ends of names, and whole ones, in small letters; the first that fits counts.
_NAMED: tuple[tuple[str, str], ...] = (
    ("tf_model.h5", "TensorFlow weights; " + _TRANSFORMERS.format("from_tf=True)")),
    ("flax_model.msgpack", "Flax weights; " + _TRANSFORMERS.format("from_flax=True)")),
    (".msgpack", "Flax weights; read them with flax.serialization and save them with safetensors"),
    (".keras", _KERAS),
    (".h5", _KERAS),
    (".hdf5", _KERAS),
    ("saved_model.pb", _SAVED_MODEL),
    (".pb", _GRAPH),
    (".ckpt.index", _TF_CHECKPOINT),
    (".ckpt.meta", _TF_CHECKPOINT),
    (".data-00000-of-00001", _TF_CHECKPOINT),
    (".tflite", f"a TensorFlow Lite model; {_TF2ONNX} --tflite FILE --output model.onnx"),
    (".mlmodel", _CORE_ML),
    (".mlpackage", _CORE_ML),
    (".distcp", _DCP),
    (".pdparams", "PaddlePaddle weights; convert the model to ONNX with paddle2onnx"),
    (".pdiparams", "PaddlePaddle weights; convert the model to ONNX with paddle2onnx"),
    (".pdmodel", "a PaddlePaddle model; convert it to ONNX with paddle2onnx"),
    (".nemo", "a NeMo archive; unpack it (it is a tar) and open the .ckpt in it"),
    (".tar", "a tar archive; unpack it first"),
    (".joblib", _PICKLE),
    (".pickle", _PICKLE),
    (
        ".engine",
        "a TensorRT engine, which nothing converts back: take the model that it was made of",
    ),
    (".ot", "weights of tch (Rust); load them with torch and save them with safetensors"),
    (".caffemodel", "a Caffe model; convert it to ONNX with caffe2onnx"),
)
_MAGIC: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"GGUF", "a GGUF file; call it .gguf"),
    ((b"lmgg", b"tjgg", b"fmgg"), _GGML),
    (b"\x89HDF", _KERAS.replace("a Keras model", "an HDF5 file (a Keras model?)")),
    ((b"PK\x03\x04", b"PK\x05\x06"), "a zip archive, not what its name says"),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), _PICKLE),
    (b"\x93NUMPY", "a numpy array; call it .npy"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"{", "a JSON text, not a checkpoint or the index of one"),
)  # fmt: skip
_CTRANSLATE2 = "a model of CTranslate2, which nothing converts back: take the model it was made of"

# Names in a folder that tell what it is.
_FOLDERS: tuple[tuple[str, str], ...] = (
    ("saved_model.pb", _SAVED_MODEL),
    (".metadata", _DCP),
    ("zero_to_fp32.py", "a DeepSpeed checkpoint; make it one file: python zero_to_fp32.py . OUT"),
    ("_CHECKPOINT_METADATA", _ORBAX),
    ("manifest.ocdbt", _ORBAX),
    ("Manifest.json", _CORE_ML),
)


def what_it_is(path: Place, otherwise: str = UNKNOWN) -> str:
    """Say what a file or folder that no reader takes is, and what to do with it.

    Parameters
    ----------
    otherwise
        What to say of a file that is not known.
    """
    if path.is_dir():
        return _what_is_in(path)
    if not path.is_file():
        return "this is not a regular file"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "the file is empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((what for magic, what in _MISTAKES if text.startswith(magic)), "")
    found = found or _by_name(path.name)
    found = found or next((what for magic, what in _MAGIC if text.startswith(magic)), "")
    if not found and head[257:262] == b"ustar":
        found = "a tar archive; unpack it first"
    if not found and b"Spec\0" in head[6:48]:  # the name of a specification, behind its length
        found = _CTRANSLATE2
    return f"this is {found}" if found else otherwise


def _by_name(name: str) -> str:
    return next((what for end, what in _NAMED if name.lower().endswith(end)), "")


def _what_is_in(folder: Place) -> str:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    if not entries:
        return "the folder is empty"
    names = {entry.name for entry in entries}
    told = next((what for name, what in _FOLDERS if name in names), "")
    if told:
        return f"this is {told}"
    below = [entry.name for entry in entries if _has_checkpoint(entry)]
    if below:
        listed = ", ".join(map(printable, below[:8])) + (", …" if len(below) > 8 else "")
        return f"there is no checkpoint here, but there is in: {listed}"
    for entry in entries:
        foreign = _by_name(entry.name)
        if foreign:
            return f"there is no checkpoint here that is read; {printable(entry.name)} is {foreign}"
    return "there is no checkpoint here"


def _has_checkpoint(folder: Place) -> bool:
    return folder.is_dir() and any(e.name.lower().endswith(ALL) for e in folder.iterdir())
