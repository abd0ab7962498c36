"""Partial correlations that the latent-activity estimator uses."""


rule latent_cells:
    """Partial correlation of each candidate edge in cells that saw the same treatment, from sums over cells."""
    input:
        moments=per_plate(rules.coexpression_moments.output.moments),
        conditions=CONDITIONS,
        edges=rules.mask.output.edges,
    output:
        partial=f"{RUN}/latent/partial_correlation.parquet",
    log:
        f"{LOGS}/latent_cells.log",
    benchmark:
        f"{BENCHMARKS}/latent_cells.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        code=code_digest("latent.cells"),
    script:
        "../workflow_scripts/latent_cells.py"
