"""Partial correlations of the candidate edges. The method is in causcade.latent.cells."""

from causcade import files, latent, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        edges = files.read_parquet(job.input.edges)
        table = latent.partial_table(zip(sorted(job.input.moments), sorted(job.input.conditions), strict=True), edges)
        files.write_parquet(job.output.partial, table)


if __name__ == "__main__":
    main(snakemake)
