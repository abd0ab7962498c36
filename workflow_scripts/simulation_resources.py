"""Simulated resources and truth. The simulation is in causcade.simulation."""

from pathlib import Path

from causcade import runtime, simulation
from causcade.config import SimulationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = SimulationConfig(**job.params.settings)
        simulation.write_resources(settings, job.params.seed, Path(job.output.resources[0]).parent)
        simulation.write_truth(settings, job.params.seed, Path(job.output.edges).parent)


if __name__ == "__main__":
    main(snakemake)
