"""Evidence columns of one fit. The methods are in causcade.evidence."""

from causcade import evidence, files, responses, runtime
from causcade.config import CausalConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        settings, given = job.params.settings, job.input
        table, held_out = evidence.measure_evidence(
            job.wildcards.fit,
            responses.ScreenFiles(given.conditions, given.baselines, files.read_parquet(given.targets)),
            files.read_parquet(given.edges),
            CausalConfig(**settings["causal"]),
            seed=settings["seed"],
            weights={name: evidence.read_scores(given[name]) for name in ("weight", "weight_no_prior") if given.get(name)},
            partial={
                name: files.read_parquet(path)["partial_correlation"] for name in ("partial_correlation", "partial_within") for path in given[name]
            },
            latent=files.read_parquet(given.latent),
        )
        files.write_parquet(job.output.evidence, table)
        files.write_parquet(job.output.held_out, held_out)


if __name__ == "__main__":
    main(snakemake)
