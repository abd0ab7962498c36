"""Vote of one plate on the panel. The ranking is in causcade.panel."""

from causcade import devices, files, panel, runtime
from causcade.cells import CellStore
from causcade.config import PanelConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        devices.check_gpus(job.resources.gpu, settings["backend"])
        ranking = PanelConfig(flavor=settings["panel.flavor"], vote_cells=settings["panel.vote_cells"])
        with CellStore(job.input.cells) as store:
            votes = panel.plate_votes(store, ranking, seed=settings["seed"], block_cells=settings["input.block_cells"], backend=settings["backend"])
        files.write_parquet(job.output.votes, votes)


if __name__ == "__main__":
    main(snakemake)
