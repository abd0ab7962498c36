"""The causal module: one job per fit."""

import json

from causcade.fits import fit_names

FITS = fit_names(CONFIG.causal)


rule causal:
    """One fit: W on the candidate edges and the direct effects. A stopped fit goes on from its last checkpoint."""
    input:
        conditions=CONDITIONS,
        baselines=BASELINES,
        cells=(
            per_plate(rules.quality.output.cells)
            if CONFIG.causal.training == "cells"
            else []
        ),
        targets=rules.unmeasured.output.targets,
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
    threads: CONFIG.causal.processes
    resources:
        **placed("causal"),
        mem_mb=fitting,
        runtime=minutes_of_fit,
        # How fast it goes, and no reason to fit again, as a parameter would be.
        python=PYTHON,
        processes=processes_of(CONFIG, "causal"),
    params:
        settings=lambda wildcards: json.dumps(settings_of_this_fit(wildcards)),
        checkpoint=f"{RUN}/checkpoints/causal/{{fit}}.pt",
        code=code_digest("causal"),
    # exec: what asks the job to stop reaches the fit itself, which then saves its state.
    shell:
        "exec {resources.python} workflow_scripts/causal.py {wildcards.fit:q} --conditions {input.conditions:q} --baselines {input.baselines:q}"
        " --cells {input.cells:q} --targets {input.targets:q} --edges {input.edges:q} --settings {params.settings:q} --model {output.model:q}"
        " --held-out {output.held_out:q} --checkpoint {params.checkpoint:q} --nodes {resources.nodes} --processes {resources.processes}"
        " --gpus {resources.gpu} --threads {threads} --log {log:q}"
