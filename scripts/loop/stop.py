"""The first Ctrl-C or SIGTERM waits for the end of the step, where a training can be taken up."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after the step; a second one kills."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    wanted = False

    def __enter__(self) -> StopRequest:
        self.before = [signal.signal(number, self.hear) for number in self.SIGNALS]
        return self

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self.restore()

    def restore(self) -> None:
        for number, handler in zip(self.SIGNALS, self.before, strict=True):
            signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        self.restore()
