"""Residual coexpression of each cell line, from the plates' sums. The mathematics is in causcade.coexpression."""

from causcade import coexpression, files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        genes = files.read_parquet(job.input.panel)["gene"].tolist()
        num_partners = job.params.settings["coexpression"]["partners"]
        coexpression.coexpression_by_line(job.output.lines, sorted(job.input.moments), genes, num_partners)


if __name__ == "__main__":
    main(snakemake)
