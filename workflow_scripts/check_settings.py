"""Judge whether the screen has what later stages will want of it. The checks are in causcade.checks."""

from causcade import checks, files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        checks.check_settings([files.read_json(path) for path in job.input.looks], **job.params.wanted)
        files.write_json(job.output.check, job.params.wanted)


if __name__ == "__main__":
    main(snakemake)
