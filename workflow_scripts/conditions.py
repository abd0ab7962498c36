"""Conditions of one plate. The sums are in causcade.conditions."""

from causcade import conditions, files, runtime
from causcade.cells import CellStore


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        panel, roles = files.read_parquet(job.input.panel), files.read_parquet(job.input.cell_cycle)
        with CellStore(job.input.cells) as store:
            table = conditions.measure_conditions(
                store, panel, roles, min_cells=settings["conditions"]["min_cells"], block_cells=settings["input.block_cells"]
            )
        files.write_anndata(job.output.conditions, table)


if __name__ == "__main__":
    main(snakemake)
