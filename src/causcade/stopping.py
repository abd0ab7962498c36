"""Being asked to stop, by Slurm or by a person.

A training notes the signal, finishes its step, saves its state and ends (:func:`stop_requests`). Any other job ends at once, but removes what it
was writing and says in its log why it ended (:func:`ending_in_order`).

Snakemake tries a job again that was cancelled or ran out of time, which counts as one of its `retries` and asks for more memory. A training that made
room for a job that goes before it (preemption) needs neither: Slurm is asked to queue it again as it is (:func:`queue_again`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from causcade.errors import CauscadeError

__all__ = ["Stopped", "ending_in_order", "queue_again", "stop_requests"]

logger = logging.getLogger("causcade")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of Slurm, before it kills
SCONTROL_S = 10  # at most, for an answer of scontrol: less than is left before the kill
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


def queue_again() -> bool:
    """Ask Slurm to queue this job again if it is making room for another; the first process of a job asks.

    Returns
    -------
    bool
        Whether Slurm will. Not where it ended the job for another reason, refuses, or cannot be asked.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or os.environ.get("RANK", "0") != "0" or shutil.which("scontrol") is None:
        return False
    record = _scontrol("show", "job", job)
    found = {name: re.search(rf"\b{name}=(\S+)", record or "") for name in ("JobState", "StartTime", "PreemptTime")}
    state, started, preempted = (match.group(1) if match else "" for match in found.values())
    # A time of preemption before the start is that of an earlier start of the same job; a cancelled job runs no more.
    if state != "RUNNING" or not preempted[:1].isdigit() or preempted < started:
        return False
    if _scontrol("requeue", job) is None:
        logger.warning("Slurm does not queue job %s again (JobRequeue=0?); it counts as failed, and Snakemake tries it again", job)
        return False
    logger.info("the job made room for another; Slurm queues it again as job %s", job)
    return True


def _scontrol(*arguments: str) -> str | None:
    """Output of scontrol, or None where it fails or does not answer."""
    try:
        done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=SCONTROL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


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
