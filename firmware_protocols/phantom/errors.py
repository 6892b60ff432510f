"""The one error of the PH16 grammar."""


class ProtocolError(ValueError):
    """A message is not PH16, or cannot be written as PH16; the text quotes where."""
