"""The version, as in pyproject.toml and the manifest."""

VERSION = "0.1.0"
