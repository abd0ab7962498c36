"""Summary of quality control. The counting is in causcade.quality."""

from causcade import files, quality, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        tables = zip(job.params.plates, job.input.tables, strict=True)
        files.write_json(job.output.summary, {"plates": {plate: quality.summarise_plate(files.read_parquet(path)) for plate, path in tables}})


if __name__ == "__main__":
    main(snakemake)
