"""Vote of one plate on the panel. The ranking is in causcade.panel."""

from causcade import files, panel, runtime
from causcade.cells import CellStore
from causcade.config import PanelConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        with CellStore(job.input.cells) as store:
            votes = panel.plate_votes(
                store, PanelConfig(**settings["panel"]), seed=settings["seed"], block_cells=settings["input.block_cells"], backend=settings["backend"]
            )
        files.write_parquet(job.output.votes, votes)


if __name__ == "__main__":
    main(snakemake)
