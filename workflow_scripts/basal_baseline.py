"""Baseline of each line of one plate. The method is in causcade.basal."""

from causcade import basal, files, runtime
from causcade.cells import CellStore


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        decoder = basal.read_decoder(job.input.model[0])[0] if job.input.model else None
        cells = files.read_anndata(job.input.embedding)
        block = job.params.settings["input.block_cells"]
        with CellStore(job.input.cells) as store:
            table = basal.baseline(store, cells, decoder, files.read_parquet(job.input.panel), block_cells=block)
        files.write_anndata(job.output.baseline, table)


if __name__ == "__main__":
    main(snakemake)
