"""Judge the screen as a whole. The checks are in causcade.checks."""

from causcade import checks, files, runtime
from causcade.config import PerturbationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads) as log:
        looks = [files.read_json(path) for path in job.input.looks]
        screen = checks.check_screen(looks, PerturbationConfig(**job.params.settings["perturbation"]))
        for warning in screen["warnings"]:
            log.warning("%s", warning)
        files.write_json(job.output.check, screen)


if __name__ == "__main__":
    main(snakemake)
