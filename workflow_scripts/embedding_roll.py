"""Name the sums that new axes would be computed from."""

from causcade import files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        files.write_json(job.output.roll, {"coexpression": job.input.coexpression, "plates": sorted(job.params.plates)})


if __name__ == "__main__":
    main(snakemake)
