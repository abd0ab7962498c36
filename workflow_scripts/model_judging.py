"""What the trained TX1 model is worth on held-out wells. The method is in causcade.model_judging."""

from pathlib import Path

from causcade import devices, files, model_judging, runtime
from causcade.cells import CellStore
from causcade.config import PretrainingConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        how = PretrainingConfig(**settings["pretraining"] | {"micro_cells": job.resources.micro_cells or None})
        stores, folder = [CellStore(path) for path in job.input.cells], Path(job.input.weights).parent
        judged = model_judging.judge_model(stores, how, folder, seed=settings["seed"], backend=settings["backend"])
        files.write_json(job.output.judging, judged)


if __name__ == "__main__":
    main(snakemake)
