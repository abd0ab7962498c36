"""Being asked to stop, by Slurm or by a person.

A training notes the signal, finishes its step, saves its state and ends (:func:`stop_requests`). Any other job ends at once, but removes what it
was writing and says in its log why it ended (:func:`ending_in_order`).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from causcade.errors import CauscadeError

__all__ = ["Stopped", "ending_in_order", "stop_requests"]

logger = logging.getLogger("causcade")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of Slurm, before it kills
EXIT_ASKED = 128 + signal.SIGTERM  # as a shell tells it


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


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """End the job on SIGTERM while the block runs, by an exception that takes away half-written files; a second SIGTERM ends it without.

    Outside the main thread no signal is caught.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        message = "SIGTERM: the job was told to end: by its time limit, by `scancel`, for a job that goes before it, or by a person."
        logger.error(message)
        print(f"causcade: {message}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(EXIT_ASKED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
