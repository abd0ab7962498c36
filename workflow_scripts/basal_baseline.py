"""Baselines of one plate. The method is in causcade.basal.baselines."""

from causcade import files, runtime
from causcade.basal.baselines import measure_baselines
from causcade.basal.cells import Embedding
from causcade.basal.decoder import read_decoder
from causcade.cells import CellStore


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        decoder = read_decoder(job.input.model[0])[0] if job.input.model else None
        how = {"baseline": job.params.baseline, "block_cells": job.params.settings["input.block_cells"]}
        with CellStore(job.input.cells) as store:
            table = measure_baselines(store, Embedding(job.input.embedding), decoder, files.read_parquet(job.input.panel), **how)
        files.write_anndata(job.output.baseline, table)


if __name__ == "__main__":
    main(snakemake)
