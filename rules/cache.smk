"""`--cache`: results that are shared between runs (directive `cache` of their rules; docs/slurm.md)."""

# A result that comes from the cache has no time and no memory to tell, so Snakemake wants no benchmark of such a rule. Without `--cache` all are measured.
for stage in workflow.rules:
    if stage.cache.output:
        stage._benchmark = None
