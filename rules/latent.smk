"""The latent-activity estimator: one job per fit."""

from causcade.fits import latent_fit_names

LATENT_FITS = latent_fit_names(CONFIG.causal)


rule latent:
    """One fit: a probability and a score for each candidate edge, activities of the listed targets, off-targets."""
    input:
        conditions=CONDITIONS,
        baselines=BASELINES,
        targets=rules.unmeasured.output.targets,
        edges=rules.mask.output.edges,
        unmeasured=rules.unmeasured.output.edges,
        partial=PARTIAL_WITHIN,
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
