"""The basal decoder, pinned as the panel is, and the baseline of each plate."""

CONTROLS_ROLL = f"{RUN}/basal/roll.json"


if not stands("basal"):

    rule basal_roll:
        """List the plates whose controls a new basal decoder would be fitted on."""
        input:
            embeddings=per_plate(rules.embedding.output.embedding),
            cells=per_plate(rules.quality.output.cells),
        output:
            roll=CONTROLS_ROLL,
        log:
            f"{LOGS}/basal_roll.log",
        benchmark:
            f"{BENCHMARKS}/basal_roll.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=small,
            runtime=minutes,
        params:
            plates=list(PLATES),
        script:
            "../workflow_scripts/basal_roll.py"


rule basal:
    """Fit the decoder on control cells, then freeze it."""
    input:
        roll=CONTROLS_ROLL,
        panel=rules.panel.output.panel,
    output:
        model=f"{RUN}/basal/model.safetensors",
        metrics=f"{RUN}/basal/metrics.jsonl",
        summary=f"{RUN}/basal/summary.json",
        pin=f"{PINS}/basal.json",
    log:
        f"{LOGS}/basal.log",
    benchmark:
        f"{BENCHMARKS}/basal.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        **placed("basal"),
        mem_mb=large,
        runtime=minutes_of_fit,
    params:
        settings=settings_of("basal", "seed", "backend", "input.block_cells"),
        fingerprint=FINGERPRINTS["basal"],
        code=code_digest("basal"),
    script:
        "../workflow_scripts/basal.py"


rule basal_baseline:
    """Baseline of each line of one plate, from its control cells."""
    input:
        cells=rules.quality.output.cells,
        embedding=rules.embedding.output.embedding,
        model=(
            [rules.basal.output.model]
            if CONFIG.basal.baseline == "matched_control"
            else []
        ),
        panel=rules.panel.output.panel,
    output:
        baseline=directory(f"{RUN}/basal/baseline/{{plate}}.zarr"),
    log:
        f"{LOGS}/basal_baseline/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/basal_baseline/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes_of_cells,
    params:
        settings=settings_of("basal.baseline", "input.block_cells"),
        code=code_digest("basal"),
    script:
        "../workflow_scripts/basal_baseline.py"
