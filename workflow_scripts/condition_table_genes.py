"""Genes of a table of conditions and their partners. The methods are in causcade.condition_table_genes."""

from causcade import condition_table_genes, files, panel, responses, runtime


def main(job) -> None:
    with runtime.job_log(job.log[0], threads=job.threads):
        targets, gene_sets, priors = (files.read_parquet(job.input[name]) for name in ("targets", "gene_sets", "prior_edges"))
        effects = responses.ScreenFiles([job.input.conditions], [], targets).effects()
        correlation, partners = condition_table_genes.correlation_partners(effects, priors, job.params.settings["coexpression.partners"])
        raw = condition_table_genes.correlate_conditions(effects, with_targets=True)
        condition_table_genes.write_correlation(job.output.coexpression, correlation, raw)
        files.write_parquet(job.output.panel, condition_table_genes.genes_of_table(effects, panel.source_members(gene_sets, targets)))
        files.write_parquet(job.output.partners, partners)


if __name__ == "__main__":
    main(snakemake)
