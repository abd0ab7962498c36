"""Look at one plate. The checks are in causcade.checks."""

from types import SimpleNamespace

from causcade import checks, files, runtime
from causcade.checks import read_resolver
from causcade.config import InputConfig, PerturbationConfig
from causcade.plates import Plate


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        config = SimpleNamespace(input=InputConfig(**settings["input"]), perturbation=PerturbationConfig(**settings["perturbation"]))
        plate = Plate(**job.params.plate, counts=job.resources.counts)
        look = checks.check_plate(plate, config, read_resolver(job.input.identifiers))
        files.write_json(job.output.look, look)


if __name__ == "__main__":
    main(snakemake)
