"""Capture: preflight, recording a take, and checking it, over the device interfaces."""
