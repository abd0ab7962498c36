"""The run's manifest. It is made by causcade.manifest."""

from pathlib import Path

from causcade import files, manifest, runtime
from causcade.config import Config


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        files.write_json(job.output.manifest, manifest.build_manifest(Config(**job.params.settings), list(job.input.inputs), Path.cwd()))


if __name__ == "__main__":
    main(snakemake)
