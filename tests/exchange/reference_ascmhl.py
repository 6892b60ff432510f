"""The reference ``ascmhl`` tool, in an environment of its own: it pins versions that we do not.

``make .venv-ascmhl`` (which ``make test`` does) installs it; ``LIGHTSTAGE_ASCMHL_PYTHON`` names the
Python of another environment that has it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_OURS = Path(__file__).resolve().parents[2] / ".venv-ascmhl" / "bin" / "python"


@dataclass(frozen=True)
class ReferenceAscMhl:
    """Runs commands of the reference tool."""

    python: str

    def __call__(self, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``create``, ``verify``, ``diff`` or another command; its exit code is the result.

        Called through the module: the program would look for updates on the network after each.
        """
        return subprocess.run(
            [
                *(self.python, "-c", f"from ascmhl import commands; commands.{command}()"),
                *map(str, arguments),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="session")
def ascmhl() -> ReferenceAscMhl:
    """The reference tool; the test is skipped where it is not installed."""
    python = os.environ.get("LIGHTSTAGE_ASCMHL_PYTHON") or str(_OURS)
    if not Path(python).exists():
        pytest.skip("the reference ascmhl tool is absent; 'make .venv-ascmhl' installs it")
    tool = ReferenceAscMhl(python)
    if tool("create", "--help").returncode != 0:
        pytest.skip(f"{python} has no working ascmhl; 'make .venv-ascmhl' installs it")
    return tool
