"""The ``lightstage`` command, one file per sub-command.

Modules here import what they need inside the command, so that ``lightstage --help`` is quick.
"""

from lightstage.cli.application import main

__all__ = ["main"]
