"""The network and its exports. The method is in causcade.network."""

from pathlib import Path

from causcade import causal, files, network, responses, runtime
from causcade.config import NetworkConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        screen = responses.read_responses(job.input.conditions, job.input.baselines, files.read_parquet(job.input.targets))
        weights = {name: causal.read_weights(Path(path).parent) for name, path in zip(job.params.fits, job.input.fits, strict=True)}
        chosen = NetworkConfig(**settings["network"])
        table = network.build_network(files.read_parquet(job.input.edges), weights, screen, chosen)
        network.write_network(table, Path(job.output.edges).parent, chosen)


if __name__ == "__main__":
    main(snakemake)
