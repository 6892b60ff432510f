"""What other tools read and write: films, layered EXR, stacks of one-light pictures."""

from __future__ import annotations

from lightstage.exchange.file_names import NamePattern
from lightstage.exchange.film import FILM_SUFFIXES, FilmWriter, read_film
from lightstage.exchange.image_stack import ImportedStack, import_olat

__all__ = [
    "FILM_SUFFIXES",
    "FilmWriter",
    "ImportedStack",
    "NamePattern",
    "import_olat",
    "read_film",
]
