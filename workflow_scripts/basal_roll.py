"""List the stores that a new basal decoder would be fitted on."""

from causcade import files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        rows = zip(job.params.plates, job.input.cells, job.input.embeddings, strict=True)
        files.write_json(job.output.roll, {plate: {"cells": cells, "embedding": embedding} for plate, cells, embedding in rows})


if __name__ == "__main__":
    main(snakemake)
