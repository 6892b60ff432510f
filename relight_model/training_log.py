"""What a training tells: log.jsonl and TensorBoard in the RUN, a line or a bar for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from relight_model.trainer import StepReport
from relight_model.training_config import TrainingConfig

LOG = "log.jsonl"
_BOARD = "tensorboard"
#: Without a terminal a line is printed so often.
_LINE_EVERY_S = 30.0


class TrainingLog:
    """Writes a run's log; use it in a ``with`` block."""

    def __init__(
        self, run: Path, config: TrainingConfig, step: int, *, quiet: bool = False
    ) -> None:
        """Go on after ``step``: what an earlier sitting wrote beyond it is removed."""
        self.config, self.quiet = config, quiet
        run.mkdir(parents=True, exist_ok=True)
        self._path = run / LOG
        _cut(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _board(run / _BOARD, step)
        self._bar = _Bar(config, step) if not quiet and sys.stderr.isatty() else None
        self._spoken = time.monotonic()
        self._speed: float | None = None

    def __enter__(self) -> Self:
        """Start the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        if self._bar:
            self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def stepped(self, report: StepReport) -> None:
        """Take in a step."""
        # the first steps are slow: caches are cold
        rate = 1.0 / max(report.seconds, 1e-9)
        self._speed = rate if self._speed is None else 0.95 * self._speed + 0.05 * rate
        left = time_left_s(report)
        if self._bar:
            self._bar.update(report, self._speed, left)
        elif not self.quiet and time.monotonic() - self._spoken > _LINE_EVERY_S:
            self._spoken = time.monotonic()
            print(
                f"step {report.step}: {_told(report.losses)}; {self._speed:.2f} it/s, "
                f"{_clock(left)} left",
                file=sys.stderr,
            )
        if report.step % self.config.log_every == 0:
            self.write({"step": report.step, "losses": report.losses, "rate": report.rate,
                        "gradient": report.gradient, "elapsed_s": round(report.elapsed_s, 3),
                        "seconds": round(report.seconds, 4)})  # fmt: skip
            if self._board is not None:
                for name, value in report.losses.items():
                    self._board.add_scalar(f"loss/{name}", value, report.step)
                self._board.add_scalar("optimiser/rate", report.rate, report.step)
                self._board.add_scalar("optimiser/gradient", report.gradient, report.step)
                self._board.add_scalar("speed/steps_per_second", self._speed, report.step)

    def pictured(self, step: int, name: str, display: NDArray[np.floating]) -> None:
        """Show a display-encoded picture ``(h, w, 3)`` in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, display, step, dataformats="HWC")

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log, and see to it that it is there."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Say something to a person."""
        if self.quiet:
            return
        if self._bar:
            self._bar.print(text)
        else:
            print(text, file=sys.stderr)


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log; a line that was cut off by a kill is left out."""
    entries = []
    path = run / LOG
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
    return entries


def time_left_s(report: StepReport) -> float | None:
    """Return how long the rest takes, if it goes on as so far."""
    if report.done <= 0:
        return None
    return report.elapsed_s * (1.0 - report.done) / report.done


class _Bar:
    """A bar with the losses, steps a second and the time left, on standard error."""

    def __init__(self, config: TrainingConfig, step: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[losses]}"),
            console=self._console,
        )
        of = "" if config.steps is None else f"/{config.steps}"
        self._of = of
        self._task = self._progress.add_task(
            "training", total=1.0, step=f"{step}{of}", speed="", left="…", losses=""
        )

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def print(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def update(self, report: StepReport, speed: float, left: float | None) -> None:
        self._progress.update(
            self._task,
            completed=report.done,
            step=f"{report.step}{self._of}",
            speed=f"{speed:.2f} it/s",
            left=_clock(left),
            losses=_told(report.losses),
        )


def _told(losses: Mapping[str, float]) -> str:
    order = sorted(losses, key=lambda name: name != "total")
    return " ".join(f"{name} {losses[name]:.4f}" for name in order)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "…"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _cut(path: Path, step: int) -> None:
    """Remove entries of steps after ``step``, and a line that was cut off."""
    if not path.is_file():
        return
    kept = [
        json.dumps(entry) for entry in read_log(path.parent) if int(entry.get("step", 0)) <= step
    ]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    partial.replace(path)


def _board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or ``None`` where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
