"""One simulated plate. The simulation is in causcade.simulation."""

from causcade import runtime, simulation
from causcade.config import SimulationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = SimulationConfig(**job.params.settings, plates=[job.wildcards.plate])
        simulation.simulate_plate(settings, job.params.seed, job.wildcards.plate, job.output.counts)


if __name__ == "__main__":
    main(snakemake)
