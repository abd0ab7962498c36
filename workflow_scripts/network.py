"""The network and its exports. The method is in causcade.network."""

from pathlib import Path

import pandas as pd

from causcade import condition_table, evidence, files, network, responses, runtime
from causcade.config import NetworkConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        given, settings = job.input, NetworkConfig(**job.params.settings["network"])
        effects = responses.ScreenFiles(given.conditions, given.baselines, files.read_parquet(given.targets)).effects()
        num_genes = int(effects.is_measured_G.sum())
        tables = {fit: files.read_parquet(path) for fit, path in zip(job.params.fits, given.evidence, strict=True)}
        boots = [table for fit, table in tables.items() if fit != "main"]
        held_out = pd.concat([pd.DataFrame(columns=evidence.HELD_OUT_COLUMNS), *map(files.read_parquet, given.held_out)], ignore_index=True)
        choice = evidence.choose_score(settings.score, tables["main"], boots, held_out, num_genes=num_genes)
        choice["left_out"] = {} if job.params.has_cells else condition_table.LEFT_OUT
        weights = {"weight": evidence.read_fit_weights(given.main), "weight_no_prior": evidence.read_fit_weights(given.noprior)}
        latent = {fit: files.read_parquet(path) for fit, path in zip(job.params.fits, given.latent, strict=True)}
        edges, weights, tables = network.add_unmeasured(
            files.read_parquet(given.edges), weights, tables, files.read_parquet(given.unmeasured), latent
        )
        table = network.build_network(edges, weights, tables, effects, choice["score"])
        files.write_json(job.output.choice, choice)
        network.write_network(table, Path(job.output.edges).parent, settings)


if __name__ == "__main__":
    main(snakemake)
