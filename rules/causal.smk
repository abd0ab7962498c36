"""The causal module: one job per fit."""

from causcade.fits import fit_names

FITS = fit_names(CONFIG.causal)


rule causal:
    """One fit: W on the candidate edges and the direct effects."""
    input:
        conditions=per_plate(rules.conditions.output.conditions),
        baselines=per_plate(rules.basal_baseline.output.baseline),
        targets=rules.targets.output.targets,
        edges=rules.mask.output.edges,
    output:
        model=f"{RUN}/causal/{{fit}}/model.safetensors",
        direct=f"{RUN}/causal/{{fit}}/direct_effects.parquet",
        metrics=f"{RUN}/causal/{{fit}}/metrics.jsonl",
        held_out=f"{RUN}/causal/{{fit}}/held_out.parquet",
    log:
        f"{LOGS}/causal/{{fit}}.log",
    benchmark:
        f"{BENCHMARKS}/causal/{{fit}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of_this_fit,
        checkpoint=f"{RUN}/checkpoints/causal/{{fit}}.pt",
        code=code_digest("causal"),
    script:
        "../workflow_scripts/causal.py"
