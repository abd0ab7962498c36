"""The page. It is made by causcade.report."""

from pathlib import Path

from causcade import report, runtime
from causcade.config import ReportConfig


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        report.write_report(Path(job.output.page).parents[1], ReportConfig(**job.params.settings["report"]), run=job.params.settings["run"])


if __name__ == "__main__":
    main(snakemake)
