"""List the stores that a new model would be trained on."""

from causcade import files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        files.write_json(job.output.roll, dict(zip(job.params.plates, job.input.cells, strict=True)))


if __name__ == "__main__":
    main(snakemake)
