"""Sums of one plate from those of its shards. The mathematics is in causcade.coexpression."""

from causcade import coexpression, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        coexpression.write_moments(job.output.moments, coexpression.add_moments(job.input.moments))


if __name__ == "__main__":
    main(snakemake)
