"""Calibration: where a stage's lights are, how bright each is, and what colour is true."""
