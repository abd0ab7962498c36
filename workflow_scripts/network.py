"""The network and its exports. The method is in causcade.network."""

from pathlib import Path

import pandas as pd

from causcade import causal, network, responses, runtime
from causcade.config import NetworkConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        screen = responses.read_responses(job.input.conditions, job.input.baselines, pd.read_parquet(job.input.targets))
        weights = {name: causal.read_weights(Path(path).parent) for name, path in zip(job.params.fits, job.input.fits, strict=True)}
        chosen = NetworkConfig(**settings["network"])
        table = network.build_network(pd.read_parquet(job.input.edges), weights, screen, chosen, num_hops=settings["causal.num_hops"])
        network.write_network(table, Path(job.output.edges).parent, chosen)


if __name__ == "__main__":
    main(snakemake)
