"""The errors that reach a person: each message is one sentence, what is wrong and where."""


class WeightwalkError(Exception):
    """Base of all errors with a message fit to show; work that failed."""

    exit_status = 1


class BadInputError(WeightwalkError, ValueError):
    """What was asked for, or the file it was asked of, cannot be used."""

    exit_status = 2


class CheckpointError(BadInputError):
    """A model file or folder is missing, damaged, or not what it claims to be."""


class SelectionError(BadInputError):
    """A filter matches no tensor; the message says what is there."""


class SeriesError(BadInputError):
    """Checkpoints do not make a series: too few of them, or not of one training run."""


class SettingsError(BadInputError):
    """A setting is out of its range or contradicts another."""


class MissingDependencyError(BadInputError, ImportError):
    """A package that the request needs is not installed; the message says how to get it."""


class DTypeError(BadInputError, TypeError):
    """A tensor's dtype is known but not decoded."""


class EmptyFieldError(WeightwalkError):
    """A tensor gives no surface (all zero, constant, not finite); the message is the reason."""


class OutputError(WeightwalkError, OSError):
    """A result could not be written."""


class OutputFolderError(BadInputError, OSError):
    """The folder for the results cannot be made or written."""
