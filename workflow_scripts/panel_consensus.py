"""Consensus of the plates' votes. The rule is in causcade.panel."""

from causcade import files, panel, runtime
from causcade.config import PanelConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        votes = {plate: files.read_parquet(path) for plate, path in zip(job.params.plates, job.input.votes, strict=True)}
        agreed = panel.consensus(votes, PanelConfig(num_hvg=job.params.settings["panel.num_hvg"]))
        is_target = agreed["gene"].isin(files.read_parquet(job.input.targets)["target"])
        files.write_parquet(job.output.consensus, agreed.assign(is_drug_target=is_target))


if __name__ == "__main__":
    main(snakemake)
