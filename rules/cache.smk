"""`--cache`: results that are shared between runs (directive `cache` of their rules; docs/slurm.md)."""

CACHED = [stage.name for stage in workflow.rules if stage.cache.output]

# A result that comes from the cache has no time and no memory to tell, so Snakemake wants no benchmark of such a rule. Without `--cache` all are measured.
for name in CACHED:
    workflow.get_rule(name)._benchmark = None

# Jobs on a cluster are told of `--cache` only where it names rules.
if CACHED and not workflow.workflow_settings.cache:
    workflow.workflow_settings.cache = CACHED
