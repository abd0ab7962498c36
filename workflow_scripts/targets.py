"""Targets of the perturbations that occur. The rules are in causcade.targets."""

import pandas as pd

from causcade import files, runtime, targets
from causcade.checks import read_resolver


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        kinds = files.read_json(job.input.check)["kinds"]
        labels = pd.DataFrame({"perturbation": list(kinds), "kind": list(kinds.values())}, dtype=object)
        override = targets.read_target_table(job.input.override[0]) if job.input.override else None
        table = targets.build_targets(
            labels,
            files.read_parquet(job.input.drug_targets),
            override,
            separator=job.params.settings["perturbation.separator"],
            resolver=read_resolver(job.input.identifiers),
        )
        files.write_parquet(job.output.targets, table)


if __name__ == "__main__":
    main(snakemake)
