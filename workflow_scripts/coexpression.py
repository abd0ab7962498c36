"""Residual coexpression from the plates' sums. The mathematics is in causcade.coexpression."""

from causcade import coexpression, files, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        result = coexpression.residual_correlation(coexpression.add_moments(sorted(job.input.moments)))
        genes = files.read_parquet(job.input.panel)["gene"].tolist()
        partners = coexpression.top_partners(result.correlation_GG, genes, job.params.settings["coexpression"]["partners"])
        coexpression.write_coexpression(job.output.coexpression, result)
        files.write_parquet(job.output.partners, partners)


if __name__ == "__main__":
    main(snakemake)
