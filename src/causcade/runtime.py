"""What every job shares: its log, its number of threads, its progress lines, and how its errors are told.

A workflow script runs inside :func:`job_log`; a long loop reports through :class:`Progress`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from causcade import __version__
from causcade.errors import CauscadeError
from causcade.stopping import Stopped, ending_in_order, queue_again

__all__ = ["EXIT_USER_ERROR", "Progress", "job_log", "num_threads", "set_num_threads"]

EXIT_USER_ERROR = 2
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
FINISHED = "finished in"

logger = logging.getLogger("causcade")


@contextlib.contextmanager
def job_log(path: str | os.PathLike[str], *, threads: int = 1) -> Iterator[logging.Logger]:
    """Log to `path` while the block runs, and limit its thread pools.

    An expected error (:class:`~causcade.errors.CauscadeError`) becomes one message in the log and on standard error, and exit status 2.
    Any other exception keeps its traceback, in both places.

    Parameters
    ----------
    path
        Log file of this job; it is written anew. The log of an attempt that was killed without a word is kept as `<path>.killed`.
    threads
        Number of CPU threads that the job was given.

    Yields
    ------
    logging.Logger
        The logger of causcade.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    killed = _keep_log_of_killed(Path(path))
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.info("causcade %s, python %s, %d thread(s)%s", __version__, sys.version.split()[0], threads, _place_in_slurm())
    if killed is not None:
        logger.warning(
            "an attempt before this one was killed without a word, most often for its memory; its log is %s. The next attempt asks for more; "
            "a profile may ask for more at once (`set-resources`).", killed,
        )  # fmt: skip
    set_num_threads(threads)
    started = time.monotonic()
    try:
        with ending_in_order():
            yield logger
        logger.info("%s %.1f s", FINISHED, time.monotonic() - started)
    except CauscadeError as error:
        logger.error("%s", error)
        print(f"causcade: {error}", file=sys.stderr)  # noqa: T201
        if isinstance(error, Stopped):
            queue_again()
        sys.exit(EXIT_USER_ERROR)
    except Exception:
        logger.exception("unexpected error; please report it with this log")
        raise
    except KeyboardInterrupt:
        logger.error("interrupted")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


def _keep_log_of_killed(path: Path) -> Path | None:
    """Keep the log of an attempt that neither finished nor said why not; SIGKILL lets a process say nothing."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text or f" INFO {FINISHED} " in text or " ERROR " in text:
        return None
    kept = path.with_name(f"{path.name}.killed")
    path.replace(kept)
    return kept


def _place_in_slurm() -> str:
    """Job and node, for the log; empty outside Slurm."""
    job = os.environ.get("SLURM_JOB_ID")
    return "" if job is None else f", Slurm job {job} on {os.environ.get('SLURMD_NODENAME', 'an unnamed node')}"


def set_num_threads(threads: int) -> None:
    """Limit BLAS, OpenMP and numba pools, and torch where it is loaded already, to `threads`.

    Environment variables are set too, for libraries that are imported later.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def num_threads() -> int:
    """Tell how many threads this process was given (:func:`set_num_threads`, or `OMP_NUM_THREADS`), else all processors."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else os.cpu_count() or 1


class Progress:
    """Log the rate and the time left of a long loop, at most once in `every_s` seconds.

    Parameters
    ----------
    total
        Number of units in all.
    unit
        Name of a unit in the plural, such as ``"cells"``.
    every_s
        Seconds between lines.
    """

    def __init__(self, total: int, unit: str, *, every_s: float = 10.0) -> None:
        self.total = total
        self.unit = unit
        self.every_s = every_s
        self.done = 0
        self._started = self._last = time.monotonic()

    def advance(self, num: int = 1) -> None:
        """Count `num` more units as done; log a line when it is time."""
        self.done += num
        now = time.monotonic()
        if now - self._last < self.every_s and self.done < self.total:
            return
        self._last = now
        elapsed = max(now - self._started, 1e-9)
        rate = self.done / elapsed
        left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
        logger.info("%d of %d %s, %.1f %s/s, %.0f s left", self.done, self.total, self.unit, rate, self.unit, left_s)
