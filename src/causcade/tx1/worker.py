"""A process of its own that embeds some shards: `python -m causcade.tx1.worker JOB.json`, started by :func:`causcade.tx1.embed_store`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from causcade.errors import CauscadeError
from causcade.files import write_text
from causcade.runtime import EXIT_USER_ERROR
from causcade.tx1.sharding import run_worker

__all__ = ["main"]


def main() -> None:
    """Run one worker; an error that is meant for a person is left beside the job."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    job = Path(sys.argv[1])
    try:
        run_worker(job)
    except CauscadeError as error:
        write_text(job.with_suffix(".error"), str(error))
        sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
