"""Being asked to stop: a long job notes the signal, finishes its step, saves its state and ends."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from causcade.errors import CauscadeError

__all__ = ["Stopped", "stop_requests"]

logger = logging.getLogger("causcade")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of Slurm, before it kills


class Stopped(CauscadeError):
    """A job was asked to stop; its state is saved."""


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Note SIGTERM and SIGUSR1 while the block runs; yields a function that tells whether one has come.

    Outside the main thread no signal is caught.
    """
    found = threading.Event()

    def note(number: int, _frame: FrameType | None) -> None:
        logger.warning("%s: the job stops after this step and saves its state", signal.Signals(number).name)
        found.set()

    if threading.current_thread() is not threading.main_thread():
        yield found.is_set
        return
    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield found.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
