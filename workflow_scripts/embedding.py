"""Embed the cells of one plate. The methods are in causcade.embedding."""

import shutil

from causcade import devices, files, runtime
from causcade.cells import CellStore
from causcade.config import EmbeddingConfig, InputConfig
from causcade.embedding import pca, precomputed, tx1


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, job.config["backend"])
        reading = InputConfig(**settings["input"])
        how = EmbeddingConfig(**settings["embedding"], **{key: job.config["embedding"][key] for key in EmbeddingConfig.speed_only})
        shared = {"roles": files.read_parquet(job.input.cell_cycle), "block_cells": reading.block_cells}
        with CellStore(job.input.cells) as store:
            if how.source == "tx1":
                place = tx1.Place(list(job.input.model), job.resources.checkpoints, job.output.get("genes"))
                cells = tx1.embed_plate(store, how, place, **{key.split(".")[-1]: settings[key] for key in tx1.OF_RUN}, **shared)
            elif how.source == "pca":
                cells = pca.embed_plate(store, how, pca.read_basis(job.input.model[0]), **shared)
            else:
                cells = precomputed.embed_plate(store, how, source=(job.resources.counts, reading, job.params.plate["name"]), **shared)
        files.write_anndata(job.output.embedding, cells)
        shutil.rmtree(job.resources.checkpoints, ignore_errors=True)


if __name__ == "__main__":
    main(snakemake)
