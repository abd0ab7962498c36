"""Judge whether the screen has what later stages will want of it. The checks are in causcade.checks."""

from causcade import checks, files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads) as log:
        looks = [files.read_json(path) for path in job.input.looks]
        checks.check_settings(looks, **job.params.wanted)
        if job.params.per_line:
            log.warning("%s", checks.price_of_lines(looks, job.params.num_genes))
        files.write_json(job.output.check, job.params.wanted)


if __name__ == "__main__":
    main(snakemake)
