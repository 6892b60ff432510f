"""The one tree of errors. Each text says what was expected, what came, and what to do.

The command line turns a :class:`LightstageError` into one paragraph and its ``exit_code``:
2 = wrong input, 3 = device, 4 = data damaged.
"""

from __future__ import annotations


class LightstageError(Exception):
    """Anything that a user of the toolkit can cause or must know of."""

    exit_code = 2


class InputError(LightstageError):
    """A file, folder or option that the user gave cannot be used."""


class DomeError(LightstageError):
    """A dome's lights are missing, malformed or do not fit the data."""


class SequenceError(LightstageError):
    """A capture sequence is impossible or does not fit the data."""


class SessionError(LightstageError):
    """A folder is not a session, or a session or take lacks what was asked of it."""


class SafetyError(LightstageError):
    """A sequence may not be shown to a person."""


class EnvironmentMapError(LightstageError):
    """An environment map cannot be read or is not a picture of light."""


class DeviceError(LightstageError):
    """A device did not do what it was told; the text names the device."""

    exit_code = 3


class CineError(LightstageError):
    """A .cine file is damaged or of a kind that is not known; the text names the field."""

    exit_code = 4


class FieldsError(LightstageError):
    """A store of reflectance fields is damaged, unfinished or not one."""

    exit_code = 4


class DamagedDataError(LightstageError):
    """Data on disk contradicts itself or its manifest."""

    exit_code = 4
