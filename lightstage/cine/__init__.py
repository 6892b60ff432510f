"""Phantom .cine files: reading and writing."""
