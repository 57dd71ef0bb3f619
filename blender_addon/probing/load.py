"""A model on disk → in memory → a probe, with transformers, and nothing from a network."""

from __future__ import annotations

import gc
import importlib.util
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from typing import Any, TypeVar

from ..core.errors import MissingDependencyError, SettingsError, WeightwalkError
from ..core.estimate import available_memory, size_text
from ..core.flow.probe import Probe
from ..core.flow.settings import DEFAULT_PROMPTS, ProbeSettings
from ..core.model import Progress
from ..core.readers.datafile import bad
from ..core.text import printable
from .inputs import opened
from .layers import find_layers
from .live import taking_steps
from .source import Source, find_source, find_words, weights_of
from .taking import rng_as_found, told

T = TypeVar("T")

# The first that knows a model; a base model has no head, which no layer needs.
_CLASSES = (
    ("AutoModel", "MODEL_MAPPING"),
    ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING"),
    ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING"),
    ("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING"),
    ("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING"),
)


def missing() -> str:
    """Say in one sentence what has to be installed for probing, or ""."""
    gone = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
    how = "pip install 'weightwalk[probe]', or build the container's image with PROBE=yes"
    return f"probing takes {' and '.join(gone)}: {how}" if gone else ""


def probe_steps(settings: ProbeSettings) -> Generator[Progress, None, Probe]:
    """Load a model and take what its layers put out; afterwards the model is gone from memory.

    Returns
    -------
    Probe

    Raises
    ------
    MissingDependencyError
        torch, transformers or gguf is not installed.
    CheckpointError
        The model is not there, damaged, larger than memory, or nothing that transformers knows.
    SettingsError
        What is asked for does not fit the model.
    WeightwalkError
        The model failed.
    """
    source = find_source(settings.model, trust_remote_code=settings.trust_remote_code)
    for image in settings.images:
        opened(image)
    if reason := missing():
        raise MissingDependencyError(reason)
    yield Progress("imports", 0, 1, "torch and transformers")
    device = _device(settings.device)
    size, dtype = weights_of(source, settings.dtype)
    _check_memory(source, size, dtype, device)
    yield Progress("model", 0, 2, source.name)
    with _quietly(), rng_as_found():
        loaded = _Loaded(source, settings)
    yield Progress("model", 1, 2, f"{source.name} ({size_text(size)} as {dtype})")
    with _quietly(), rng_as_found():
        model, notes = loaded.model(device)
    try:
        work = taking_steps(
            model, loaded.tokenizer, loaded.prompts, images=settings.images,
            processor=loaded.processor, token=settings.token, outputs=settings.outputs,
            layers_path=settings.layers_path, name=source.name,
        )  # fmt: skip
        found = yield from _quiet_steps(work)
    finally:
        del model
        loaded.free(device)
    info = replace(found.info, revision=source.revision, notes=(*notes, *found.info.notes))
    return Probe(info, found.values)


class _Loaded:
    """What transformers makes of a model's folder or file."""

    def __init__(self, source: Source, settings: ProbeSettings) -> None:
        """Load the tokenizer, or the image processor: these tell first what does not fit."""
        self.source, self.settings = source, settings
        self.common: dict[str, Any] = {
            "local_files_only": True,
            "trust_remote_code": settings.trust_remote_code,
        }
        self.config = None if source.gguf else self._config()
        self.prompts = settings.prompts or (() if settings.images else DEFAULT_PROMPTS)
        self._check_kind()
        self.tokenizer = self._tokenizer() if self.prompts else None
        self.processor = self._processor() if settings.images else None

    def free(self, device: str) -> None:
        """Give the memory of a model back that nothing refers to any more."""
        gc.collect()
        if device == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _load(self, auto: Any, what: str, source: Source | None = None, **options: Any) -> Any:
        source = source or self.source
        common = self.common | ({"gguf_file": source.gguf} if source.gguf else {})
        try:
            return auto.from_pretrained(str(source.folder), **common, **options)
        except (WeightwalkError, MemoryError):
            raise
        except Exception as error:  # whatever transformers and what it calls may raise
            raise bad(source.path, f"the {what} cannot be loaded ({told(error)})") from error

    def _words(self) -> Source:
        """Return where the tokenizer, or the image processor, is."""
        other, asked = self.settings.tokenizer, self.settings
        if other is None:
            return self.source
        return find_words(other, trust_remote_code=asked.trust_remote_code)

    def _config(self) -> Any:
        import transformers

        kind = self.source.config.get("model_type")
        if not self.settings.trust_remote_code and (
            not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING
        ):
            known = f"transformers {transformers.__version__}"
            what = f"{known} does not know models of the type {printable(kind)}"
            if kind is None:
                what = "its config.json does not say of which model_type it is"
            raise bad(self.source.path, what)
        return self._load(transformers.AutoConfig, "config")

    def _class(self) -> tuple[Any, str]:
        """Return the Auto class for the model, and what it takes; "" where that is not known."""
        import transformers

        if self.config is None:
            return transformers.AutoModel, "input_ids"
        for auto, mapping in _CLASSES:
            known = getattr(transformers, mapping)
            if type(self.config) in known:
                model = known[type(self.config)]
                first = model[0] if isinstance(model, tuple | list) else model
                return getattr(transformers, auto), str(getattr(first, "main_input_name", ""))
        remote = self.source.config.get("auto_map")
        for auto, _ in _CLASSES:
            if isinstance(remote, dict) and auto in remote:
                return getattr(transformers, auto), ""
        kind = printable(self.config.model_type)
        raise bad(self.source.path, f"a model of the type {kind} is none of language or images")

    def _check_kind(self) -> None:
        _, takes = self._class()
        images = bool(self.settings.images)
        if takes == "pixel_values" and not images:
            raise SettingsError(f"{self.source.name} takes images (--image), not texts")
        if takes == "input_ids" and images and not hasattr(self.config, "vision_config"):
            raise SettingsError(f"{self.source.name} takes texts (--prompt), not images")

    def _tokenizer(self) -> Any:
        import transformers

        # Without its files transformers makes one up that knows no word.
        found, source = None, self._words()
        if source.has_tokenizer:
            found = self._load(transformers.AutoTokenizer, "tokenizer", source)
        if found is None or len(found) <= len(found.all_special_ids):
            what = (
                "there is no tokenizer here, such as tokenizer.json, to cut the prompts; "
                "--tokenizer takes another folder that has it"
            )
            raise bad(source.path, what)
        return found

    def _processor(self) -> Any:
        import transformers

        source = self._words()
        if not source.has_processor:
            what = (
                "there is no image processor here (preprocessor_config.json); --tokenizer takes "
                "another folder that has it"
            )
            raise bad(source.path, what)
        return self._load(transformers.AutoImageProcessor, "image processor", source)

    def model(self, device: str) -> tuple[Any, tuple[str, ...]]:
        """Load the model; return it, and notes."""
        auto, _ = self._class()
        # Other shapes are told of here, in a sentence.
        options: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        options["dtype"] = self.settings.dtype
        if device != "cpu":
            options["device_map"] = device
        if self.source.gguf:
            from transformers import GgufConfig

            # Kernels for packed weights would come from a network.
            options["quantization_config"] = GgufConfig(dequantize=True)
        model, told_of = self._load(auto, "model", **options)
        return model, self._gaps(model, told_of)

    def _gaps(self, model: Any, told_of: dict[str, Any]) -> tuple[str, ...]:
        """Refuse a model whose layers were filled with random numbers; tell of other parts."""
        from torch.nn import Embedding

        for name, there, wanted in sorted(told_of.get("mismatched_keys", ())):
            shapes = f"the shape {tuple(there)}, and its config says {tuple(wanted)}"
            raise bad(self.source.path, f"{printable(name)} has {shapes}")
        gone = sorted(told_of.get("missing_keys", ()))
        if not gone:
            return ()
        layers = find_layers(
            model, self.settings.layers_path, seeing=bool(self.settings.images)
        ).path
        before = tuple(n for n, m in model.named_modules() if isinstance(m, Embedding))
        needed = [n for n in gone if n.startswith((f"{layers}.", *(f"{b}." for b in before)))]
        if needed:
            what = f"{len(needed)} weights of the layers are not in it, such as {needed[0]}"
            raise bad(self.source.path, printable(what, 400))
        return (f"{len(gone)} weights are not in the file and are random: {gone[0]}, …",)


def _device(wanted: str) -> str:
    import torch

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise SettingsError(f"device: {wanted} is not there; torch finds {', '.join(there)}")
    return wanted


def _check_memory(source: Source, size: int, dtype: str, device: str) -> None:
    """Raise `CheckpointError` where a model is larger than the memory that is free."""
    import torch

    free = available_memory()
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
    if free is not None and size > free:
        where = f"{size_text(free)} of memory are free{' on the GPU' * (device == 'cuda')}"
        raise bad(source.path, f"the model takes {size_text(size)} as {dtype}, and {where}")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep progress bars and warnings of transformers off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        # For GGUF files it has a bar that cannot be switched off.
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _quiet_steps(work: Generator[Progress, None, T]) -> Generator[Progress, None, T]:
    """Do work quietly; what is shown between two steps is heard."""
    while True:
        with _quietly():
            try:
                step = next(work)
            except StopIteration as end:
                result: T = end.value
                return result
        yield step
