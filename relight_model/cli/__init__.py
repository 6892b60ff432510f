"""The ``relight_model`` command, one file per sub-command."""

from relight_model.cli.application import main

__all__ = ["main"]
