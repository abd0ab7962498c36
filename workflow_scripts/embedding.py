"""Embed the cells of one plate. The methods are in causcade.embedding."""

from causcade import embedding, files, runtime
from causcade.cells import CellStore
from causcade.config import EmbeddingConfig, InputConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        reading = InputConfig(**job.params.settings["input"])
        basis = embedding.read_basis(job.input.basis[0]) if job.input.basis else None
        with CellStore(job.input.cells) as store:
            cells = embedding.embed_plate(
                store,
                EmbeddingConfig(**job.params.settings["embedding"]),
                basis,
                source=(job.params.plate["counts"], reading),
                roles=files.read_parquet(job.input.cell_cycle),
                block_cells=reading.block_cells,
            )
        files.write_anndata(job.output.embedding, cells)


if __name__ == "__main__":
    main(snakemake)
