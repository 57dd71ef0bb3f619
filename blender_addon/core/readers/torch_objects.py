"""What the names in PyTorch's pickles stand for: storages, tensors, and plain containers.

The lists are short on purpose. What is on none of them is refused by its name. Calls copy nothing:
a pickle can ask for the same large thing a million times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .dtypes import DTYPES, DType
from .shapes import MAX_DIMENSIONS, MAX_ELEMENTS, checked_shape
from .torch_machine import Name, Pairs, refuse_call

_QUANTISED = "PyTorch's own quantised tensors are not decoded"


def _other(name: str, bits: int, reason: str) -> DType:
    return DType(name, bits, is_float=False, reason=reason)


_C128 = _other("C128", 128, "C128 (complex numbers) is not decoded")
_BYTES = DTYPES["U8"]

# Class of a storage → dtype.
STORAGES: dict[str, DType] = {
    **{f"torch.{name}Storage": DTYPES[dtype] for name, dtype in (
        ("Float", "F32"), ("Double", "F64"), ("Half", "F16"), ("BFloat16", "BF16"),
        ("Long", "I64"), ("Int", "I32"), ("Short", "I16"), ("Char", "I8"), ("Byte", "U8"),
        ("Bool", "BOOL"), ("ComplexFloat", "C64"),
    )},
    "torch.ComplexDoubleStorage": _C128,
    **{f"torch.{name}Storage": _other(name, bits, _QUANTISED) for name, bits in (
        ("QInt8", 8), ("QUInt8", 8), ("QInt32", 32), ("QUInt4x2", 8), ("QUInt2x4", 8),
    )},
    "torch.storage.UntypedStorage": _BYTES,
    "torch.UntypedStorage": _BYTES,
}  # fmt: skip
# torch.dtype, as newer tensors name it → dtype.
TORCH_DTYPES: dict[str, DType] = {
    **{f"torch.{name}": DTYPES[dtype] for name, dtype in (
        ("float32", "F32"), ("float64", "F64"), ("float16", "F16"), ("bfloat16", "BF16"),
        ("float", "F32"), ("double", "F64"), ("half", "F16"),
        ("int64", "I64"), ("int32", "I32"), ("int16", "I16"), ("int8", "I8"),
        ("long", "I64"), ("int", "I32"), ("short", "I16"),
        ("uint8", "U8"), ("uint16", "U16"), ("uint32", "U32"), ("uint64", "U64"),
        ("bool", "BOOL"), ("complex64", "C64"), ("cfloat", "C64"),
        ("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2"), ("float8_e8m0fnu", "F8_E8M0"),
        ("float8_e4m3fnuz", "F8_E4M3FNUZ"), ("float8_e5m2fnuz", "F8_E5M2FNUZ"),
    )},
    "torch.complex128": _C128,
    "torch.cdouble": _C128,
    "torch.complex32": _other("C32", 32, "C32 (complex numbers) is not decoded"),
    "torch.float4_e2m1fn_x2": _other("F4", 8, DTYPES["F4"].reason),
    **{f"torch.{name}": _other(name, bits, _QUANTISED) for name, bits in (
        ("qint8", 8), ("quint8", 8), ("qint32", 32), ("quint4x2", 8), ("quint2x4", 8),
    )},
}  # fmt: skip


def _named(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


# Looked up, never called.
_VALUES = frozenset(
    STORAGES.keys()
    | TORCH_DTYPES.keys()
    | _named("torch", "Tensor per_tensor_affine per_channel_affine strided sparse_coo")
    | _named("torch.nn.parameter", "Parameter Buffer UninitializedParameter")
    | _named("torch.serialization", "_get_layout")
    | _named("typing", "Any Dict List Tuple Optional Union")
    | {f"{module}.object" for module in ("builtins", "__builtin__")}
)
# Plain things that say nothing about weights: found in the checkpoints of Trainer, Lightning,
# fairseq and others beside the tensors. What they hold is passed over, as they are never made.
_INERT = frozenset(
    {f"{module}.{name}" for module in ("builtins", "__builtin__")
     for name in ("int", "float", "bool", "str", "bytes", "complex", "slice", "long", "unicode")}
    | {f"{module}._reconstructor" for module in ("copyreg", "copy_reg")}
    | _named("_codecs", "encode")
    | _named("torch", "device Generator")
    | _named("torch.torch_version", "TorchVersion")
    | _named("torch._utils", "_rebuild_device_tensor_from_numpy")
    | _named("datetime", "datetime date time timedelta timezone")
    | _named("pathlib", "Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath")
    | _named("pathlib._local", "Path PosixPath PurePosixPath WindowsPath PureWindowsPath")
    | _named("uuid", "UUID SafeUUID")
    | _named("decimal", "Decimal")
    | _named("fractions", "Fraction")
    | _named("collections", "deque")
    | {f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
       for name in ("scalar", "_reconstruct")}
    | {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
    | _named("numpy", "ndarray dtype bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64")
    | _named("numpy", "float16 float32 float64 str_ bytes_")
    | {f"numpy.dtypes.{name}DType" for name in (
        *("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
        *("Float16", "Float32", "Float64", "Str", "Bytes", "Object"))}
    | _named("omegaconf.dictconfig", "DictConfig")
    | _named("omegaconf.listconfig", "ListConfig")
    | _named("omegaconf.base", "ContainerMetadata Metadata")
    | _named("omegaconf.nodes", "AnyNode IntegerNode FloatNode StringNode BooleanNode")
)  # fmt: skip
_PLAIN_OBJECTS = frozenset(
    _named("argparse", "Namespace")
    | _named("types", "SimpleNamespace")
    | _named("pytorch_lightning.utilities.parsing", "AttributeDict")
    | _named("lightning.pytorch.utilities.parsing", "AttributeDict")
    | _named("lightning.fabric.utilities.data", "AttributeDict")
    | _named("lightning_fabric.utilities.data", "AttributeDict")
    | _named("transformers.utils.generic", "ModelOutput")
)


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file.

    Attributes
    ----------
    key
        What the file calls it.
    dtype
        U8 where the tensors say themselves what the bytes are.
    numel
        How many numbers.
    offset
        In numbers, of a storage that is a part of the one with that `key`, as old files have them.
    whole
        How many numbers that has.
    """

    key: str
    dtype: DType
    numel: int
    offset: int
    whole: int


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor: numbers of a storage.

    Attributes
    ----------
    storage
        None where the file has no numbers of it.
    offset, shape, stride
        In numbers.
    reason
        Why it cannot be read, or "".
    """

    storage: Storage | None
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    reason: str = ""


def allowed(name: str) -> bool:
    """Whether a pickle may look up a name."""
    return name in _CALLS or name in _VALUES or name in _INERT or name in _PLAIN_OBJECTS


def call(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return what a pickle gets when it "calls" a name that is allowed.

    Raises
    ------
    RefusedError
        It is not a thing to call.
    ValueError, TypeError
        The arguments are wrong.
    """
    if name in _CALLS:
        return _CALLS[name](*arguments)
    if name in _INERT or name in _PLAIN_OBJECTS:
        return Pairs()
    raise refuse_call(name)


def load(identity: Any) -> Storage:
    """Return the storage that a persistent id stands for.

    Raises
    ------
    ValueError
        It stands for none.
    """
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("it refers to something that is not a storage")
    _, kind, key, _, numel, *view = identity
    dtype = STORAGES.get(kind.text) if type(kind) is Name else None
    if dtype is None or type(key) is not str:
        raise ValueError("it has a storage of an unknown kind")
    whole = _number(numel, "the size of a storage")
    if not view or view[0] is None:
        return Storage(key, dtype, whole, 0, whole)
    _, offset, size = view[0]
    part = _number(offset, "the offset of a storage"), _number(size, "the size of a storage")
    if sum(part) > whole:
        raise ValueError("it has a part of a storage that is not in it")
    return Storage(key, dtype, part[1], part[0], whole)


def _number(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ELEMENTS:
        raise ValueError(f"{what} is not a number that it can have")
    return value


# --- calls ------------------------------------------------------------------------------------


def _tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any = None, _hooks: Any = None,
    metadata: Any = None,
) -> Stored:  # fmt: skip
    if type(storage) is not Storage:
        raise ValueError("a tensor has no storage")
    reason = storage.dtype.reason
    if type(metadata) is Pairs and metadata:
        reason = reason or "it is a negated or conjugated view, which is not decoded"
    shape, stride = checked_shape(shape), _steps(stride)
    if len(stride) != len(shape):
        raise ValueError("a tensor's shape and strides do not fit together")
    offset = _number(offset, "a tensor's offset")
    return Stored(storage, storage.dtype, offset, shape, stride, reason)


def _steps(stride: Any) -> tuple[int, ...]:
    if type(stride) not in (tuple, list) or len(stride) > MAX_DIMENSIONS:
        raise ValueError("a tensor's strides are not a list")
    return tuple(_number(step, "a tensor's stride") for step in stride)


def _typed_tensor(*arguments: Any) -> Stored:
    """Make a tensor whose storage is bytes: the dtype comes last but for the metadata."""
    if not 7 <= len(arguments) <= 8:
        raise ValueError("a tensor has not the parts that it should have")
    dtype = _dtype(arguments[6])
    tensor = _tensor(*arguments[:6], *arguments[7:])
    bytes_of = tensor.storage
    if bytes_of is None or bytes_of.dtype is not _BYTES or bytes_of.numel * 8 % dtype.bits:
        raise ValueError("a tensor's storage is not bytes of whole numbers")
    count = bytes_of.numel * 8 // dtype.bits
    storage = replace(bytes_of, dtype=dtype, numel=count, whole=count)
    return replace(tensor, storage=storage, dtype=dtype, reason=tensor.reason or dtype.reason)


def _dtype(name: Any) -> DType:
    dtype = TORCH_DTYPES.get(name.text) if type(name) is Name else None
    if dtype is None:
        raise ValueError("a tensor's dtype is unknown")
    return dtype


def _same(tensor: Any, *_rest: Any) -> Stored:
    if type(tensor) is not Stored:
        raise ValueError("a parameter is not a tensor")
    return tensor


def _of_type(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    if type(function) is not Name or type(arguments) is not tuple:
        raise ValueError("a tensor has not the parts that it should have")
    if function.text not in _CALLS or function.text == _OF_TYPE:
        raise refuse_call(function.text)
    return _CALLS[function.text](*arguments)


def _quantised(
    storage: Any, offset: Any, shape: Any, stride: Any, _by: Any, _grad: Any, _hooks: Any
) -> Stored:  # fmt: skip
    return replace(_tensor(storage, offset, shape, stride), reason=_QUANTISED)


def _sparse(_layout: Any, parts: Any) -> Stored:
    _, values, shape, *_ = parts
    reason = "sparse tensors are not decoded"
    return Stored(None, _same(values).dtype, 0, checked_shape(shape), (), reason)


def _empty(dtype: Any, shape: Any, _stride: Any, _grad: Any) -> Stored:
    reason = "the file has no numbers of it (it was on the device meta)"
    return Stored(None, _dtype(dtype), 0, checked_shape(shape), (), reason)


def _dictionary(*arguments: Any) -> Pairs:
    """Make an OrderedDict of nothing, of pairs, or of another one."""
    content = arguments[-1] if arguments else []
    if type(content) is Pairs:
        return content
    return Pairs(content if type(content) is list else [])


def _listed(content: Any = ()) -> Any:
    return content if type(content) in (list, tuple) else []


_OF_TYPE = "torch._tensor._rebuild_from_type_v2"
_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    _OF_TYPE: _of_type,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _empty,
    "torch.serialization._get_layout": lambda *_: None,
    "torch.Size": _listed,
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": lambda *_: Pairs(),
    "collections.Counter": _dictionary,
    **{
        f"{module}.{name}": made
        for module in ("builtins", "__builtin__")
        for name, made in (("dict", _dictionary), ("set", _listed), ("frozenset", _listed))
    },
}
