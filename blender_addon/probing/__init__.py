"""Asks a model what each of its layers puts out; needs torch and transformers, but not to import.

>>> from weightwalk.probing import probe
>>> found = probe(model, tokenizer, ["The capital of France is"])
>>> found.layers()[0].shape
(1, 576)
"""

from .live import probe
from .load import missing, probe_steps

__all__ = ["missing", "probe", "probe_steps"]
