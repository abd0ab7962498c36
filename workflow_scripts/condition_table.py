"""Responses of a table of conditions. It is read by causcade.condition_table."""

from causcade import condition_table, files, runtime
from causcade.checks import read_resolver
from causcade.config import ConditionTableConfig, PerturbationConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads) as log:
        settings = job.params.settings
        perturbation = PerturbationConfig(**{name: settings[f"perturbation.{name}"] for name in ("kind", "control", "exclude")})
        responses, check = condition_table.measure_table(ConditionTableConfig(**settings["condition_table"]), perturbation)
        for warning in check["warnings"]:
            log.warning("%s", warning)
        files.write_json(job.output.check, check)
        files.write_anndata(job.output.conditions, condition_table.store_of_responses(responses, read_resolver(job.input.identifiers)))


if __name__ == "__main__":
    main(snakemake)
