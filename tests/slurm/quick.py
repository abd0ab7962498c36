"""`snakemake` that asks Slurm for the state of its jobs every second, for tests: by itself, it waits longer each time that no job has ended."""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

INTERVAL_S = 1

if __name__ == "__main__":
    Executor.next_seconds_between_status_checks = property(lambda _: INTERVAL_S, lambda *_: None)
    sys.argv[0] = "snakemake"
    main()
