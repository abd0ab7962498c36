"""Consensus of the plates' votes. The rule is in causcade.panel."""

from causcade import files, panel, runtime, targets
from causcade.config import PanelConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        votes = {plate: files.read_parquet(path) for plate, path in zip(job.params.plates, job.input.votes, strict=True)}
        agreed = panel.consensus(votes, PanelConfig(num_hvg=job.params.settings["panel.num_hvg"]))
        listed = files.read_parquet(job.input.targets)
        files.write_parquet(job.output.consensus, agreed.assign(is_drug_target=targets.is_target(agreed, listed)))


if __name__ == "__main__":
    main(snakemake)
