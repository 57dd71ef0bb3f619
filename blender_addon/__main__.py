"""``python -m weightwalk``: the command line."""

from .batch.cli import console

console()
