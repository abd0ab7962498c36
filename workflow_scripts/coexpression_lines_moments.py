"""Sums of each cell line of one plate. The mathematics is in causcade.coexpression."""

import pandas as pd

from causcade import coexpression, devices, files, runtime
from causcade.cells import CellStore


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        with CellStore(job.input.cells) as store:
            coexpression.measure_moments_by_line(
                job.output.moments,
                store,
                pd.Index(files.read_parquet(job.input.panel)["gene_id"]),
                settings["covariates"]["terms"],
                files.read_parquet(job.input.cell_cycle),
                **coexpression.sum_options(settings, job.threads),
            )


if __name__ == "__main__":
    main(snakemake)
