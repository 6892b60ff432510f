"""The ``lightstage`` command, one file per sub-command."""
