"""Fit the basal decoder. The method is in causcade.basal."""

from pathlib import Path

import pandas as pd

from causcade import basal, devices, files, runtime
from causcade.cells import CellStore
from causcade.config import BasalConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        decoder = BasalConfig(**settings["basal"])
        roll = files.read_json(job.input.roll)
        plates = [(CellStore(row["cells"]), files.read_anndata(row["embedding"])) for _, row in sorted(roll.items())]
        gene_ids = pd.Index(files.read_parquet(job.input.panel)["gene_id"])
        cells = basal.collect_controls(
            plates, gene_ids, max_cells=decoder.max_cells, seed=settings["seed"], block_cells=settings["input.block_cells"]
        )
        fit = basal.fit_basal(cells, decoder, seed=settings["seed"], backend=settings["backend"])
        basal.write_basal(Path(job.output.model).parent, fit, gene_ids.tolist())
        files.write_json(job.output.summary, fit.summary | {"plates": sorted(roll)})
        files.write_json(job.output.pin, {"fingerprint": job.params.fingerprint})


if __name__ == "__main__":
    main(snakemake)
