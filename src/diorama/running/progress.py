"""What a long job shows while it runs: frames done and time left; of a training losses and images per second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger("diorama")

SMOOTH = 0.95
LOG_SECONDS = 30.0
_SHOW_AFTER = 2.0
_COUNTERS, _ONE_LOSS = 42, 11
"""Characters of speed, times and the gaps between columns, and of one loss."""


class TrainingProgress:
    """A rich bar on a terminal, a line every half minute elsewhere (a log file stays readable).

    Args:
        total: steps of the run.
        done: steps before this start.
        shown: only the first process shows anything.
    """

    def __init__(self, total: int, done: int, *, shown: bool = True) -> None:
        self.total, self.done, self.shown = total, done, shown
        self.smooth: dict[str, float] = {}
        self.stage = ""
        self.said = time.perf_counter()
        self.began, self.first = self.said, done
        self.console = Console(stderr=True)
        self.bar = None
        if shown and self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.fields[stage]}"),
                BarColumn(_bar_width(self.console.width)),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]:.1f} images/s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}", style="dim"),
                console=self.console,
            )
            self.task = self.bar.add_task("training", total=total, completed=done, stage="training", speed=0.0, losses="")

    def __enter__(self) -> TrainingProgress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, stage: str, terms: Mapping[str, float], speed: float) -> None:
        """One step is done."""
        self.done += 1
        if stage != self.stage:  # one stage's mean of a term says nothing about the next one's
            self.stage, self.smooth = stage, {}
        for name, value in terms.items():
            self.smooth[name] = SMOOTH * self.smooth.get(name, value) + (1 - SMOOTH) * value
        losses = "  ".join(f"{name} {self.smooth[name]:.3f}" for name in terms)
        if self.bar:
            room = self.console.width - _bar_width(self.console.width) - len(stage) - 2 * len(str(self.total)) - _COUNTERS
            if len(losses) > room:  # step and time left come first
                losses = f"loss {self.smooth['loss']:.3f}" if "loss" in terms and room >= _ONE_LOSS else ""
            self.bar.update(self.task, completed=self.done, stage=stage, speed=speed, losses=losses)
        elif self.shown and (time.perf_counter() - self.said > LOG_SECONDS or self.done == self.total):
            self.said = time.perf_counter()
            left = (time.perf_counter() - self.began) / max(1, self.done - self.first) * (self.total - self.done)
            logger.info("step %d of %d, stage %s, %.1f images/s, %s left: %s", self.done, self.total, stage, speed, _duration(left), losses)


def _bar_width(console: int) -> int:
    return min(20, max(8, console - 80))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


@contextmanager
def frames_bar(title: str, total: int, started: float, *, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """A function that is called with the name of each finished frame; the bar appears two seconds after `started` (`time.monotonic`)."""
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=total)

    def advance(name: str) -> None:
        if shown and not bar.live.is_started and time.monotonic() - started > _SHOW_AFTER and not bar.finished:
            bar.start()
        bar.update(task, advance=1, description=name[-40:])

    try:
        yield advance
    finally:
        if bar.live.is_started:  # a bar that never was would still end with an empty line
            bar.stop()
