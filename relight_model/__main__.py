"""``python -m relight_model``: the command, as torchrun starts it."""

from __future__ import annotations

from relight_model.cli import main

if __name__ == "__main__":
    main(prog_name="relight_model")
