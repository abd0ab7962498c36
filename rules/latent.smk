"""The latent-activity estimator: partial correlations of the candidate edges once, then one job per fit."""

from causcade.fits import latent_fit_names

LATENT_FITS = latent_fit_names(CONFIG.causal)


rule latent_cells:
    """Partial correlation of each candidate edge in cells that saw the same treatment, from sums over cells."""
    input:
        moments=per_plate(rules.coexpression_moments.output.moments),
        conditions=per_plate(rules.conditions.output.conditions),
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


rule latent:
    """One fit: a probability and a score for each candidate edge, activities of the listed targets, off-targets."""
    input:
        conditions=per_plate(rules.conditions.output.conditions),
        baselines=per_plate(rules.basal_baseline.output.baseline),
        targets=rules.unmeasured.output.targets,
        edges=rules.mask.output.edges,
        unmeasured=rules.unmeasured.output.edges,
        partial=rules.latent_cells.output.partial,
    output:
        edges=f"{RUN}/latent/{{fit}}/edges.parquet",
        unmeasured=f"{RUN}/latent/{{fit}}/unmeasured_edges.parquet",
        activities=f"{RUN}/latent/{{fit}}/activities.parquet",
        off_targets=f"{RUN}/latent/{{fit}}/off_targets.parquet",
        held_out=f"{RUN}/latent/{{fit}}/held_out.parquet",
        summary=f"{RUN}/latent/{{fit}}/summary.json",
    log:
        f"{LOGS}/latent/{{fit}}.log",
    benchmark:
        f"{BENCHMARKS}/latent/{{fit}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("latent"),
        mem_mb=large,
        runtime=minutes_of_fit,
    params:
        settings=settings_of_latent_fit,
        checkpoint=f"{RUN}/checkpoints/latent/{{fit}}.pt",
        code=code_digest("latent"),
    script:
        "../workflow_scripts/latent.py"
