"""What each baseline leaves of the treated response. The method is in causcade.basal.comparison."""

from causcade import files, runtime
from causcade.basal.comparison import compare_baselines


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        found = compare_baselines(job.input.conditions, job.input.baselines, job.params.baseline)
        files.write_parquet(job.output.comparison, found)


if __name__ == "__main__":
    main(snakemake)
