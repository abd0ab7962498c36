"""Targets that are not measured, and candidate edges that leave them. The rule is in causcade.unmeasured."""

from causcade import files, runtime, unmeasured
from causcade.config import MaskConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        targets, panel, priors = (files.read_parquet(job.input[name]) for name in ("targets", "panel", "prior_edges"))
        edges = unmeasured.unmeasured_edges(targets, panel, priors, MaskConfig(**job.params.settings["mask"]))
        files.write_parquet(job.output.edges, edges)
        files.write_parquet(job.output.targets, unmeasured.find_unmeasured(targets, panel, edges))


if __name__ == "__main__":
    main(snakemake)
