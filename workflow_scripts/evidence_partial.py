"""Partial correlations of the candidate edges in control cells. The method is in causcade.evidence."""

from causcade import evidence, files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        table = evidence.partial_in_controls(job.input.moments, files.read_parquet(job.input.edges), files.read_parquet(job.input.panel))
        files.write_parquet(job.output.partial, table)


if __name__ == "__main__":
    main(snakemake)
