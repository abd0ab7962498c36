"""Explain every perturbation. The method is in causcade.cascades."""

from pathlib import Path

from causcade import cascades, causal, files, responses, runtime
from causcade.config import CascadesConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings = job.params.settings
        effects = responses.ScreenFiles(job.input.conditions, job.input.baselines, files.read_parquet(job.input.targets)).effects()
        fit = causal.read_fit(Path(job.input.model).parent)
        network = files.read_parquet(job.input.network)
        network = network[network["source_measured"]]  # W has no edge from a gene that is not measured
        tables = cascades.build_cascades(fit, network, effects, files.read_parquet(job.input.gene_sets), CascadesConfig(**settings["cascades"]))
        cascades.write_cascades(tables, Path(job.output.summary).parent)


if __name__ == "__main__":
    main(snakemake)
