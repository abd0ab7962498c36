"""The basal decoder, pinned as the panel is, the baseline of each plate, and what each kind of baseline leaves."""

import json

CONTROLS_ROLL = f"{RUN}/basal/roll.json"
HAS_DECODER = CONFIG.basal.baseline != "control_mean"


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
        priority: BEFORE_FITS
        localrule: True
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
    """Fit the decoder on control cells, then freeze it. A stopped fit goes on from its last checkpoint."""
    input:
        roll=CONTROLS_ROLL,
        panel=rules.panel.output.panel,
    output:
        model=f"{RUN}/basal/model.safetensors",
        metrics=f"{RUN}/basal/metrics.jsonl",
        genes=f"{RUN}/basal/genes.parquet",
        summary=f"{RUN}/basal/summary.json",
        pin=f"{PINS}/basal.json",
    log:
        f"{LOGS}/basal.log",
    benchmark:
        f"{BENCHMARKS}/basal.tsv"
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: threads_of("basal")
    resources:
        **placed("basal"),
        mem_mb=decoding,
        runtime=minutes_of_fit,
        # How fast it goes, and no reason to fit again, as a parameter would be.
        python=PYTHON,
        processes=processes_of(CONFIG, "basal"),
        block_cells=CONFIG.input.block_cells,
    params:
        settings=json.dumps(settings_of("basal", "seed", "backend")),
        checkpoints=f"{RUN}/checkpoints/basal",
        fingerprint=FINGERPRINTS["basal"],
        code=code_digest("basal.stage"),
    # exec: what asks the job to stop reaches the fit itself, which then saves its state.
    shell:
        "exec {resources.python} workflow_scripts/basal.py {input.roll:q} --panel {input.panel:q} --settings {params.settings:q}"
        " --model {output.model:q} --pin {output.pin:q} --fingerprint {params.fingerprint} --checkpoints {params.checkpoints:q}"
        " --block-cells {resources.block_cells} --nodes {resources.nodes} --processes {resources.processes} --gpus {resources.gpu}"
        " --threads {threads} --log {log:q}"


rule basal_baseline:
    """Baseline of each line of one plate, from its control cells; where it is chosen, that of each condition from its own cells."""
    input:
        cells=rules.quality.output.cells,
        embedding=rules.embedding.output.embedding,
        model=[rules.basal.output.model] if HAS_DECODER else [],
        panel=rules.panel.output.panel,
    output:
        baseline=directory(f"{RUN}/basal/baseline/{{plate}}.zarr"),
    log:
        f"{LOGS}/basal_baseline/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/basal_baseline/{{plate}}.tsv"
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes_of_cells,
    params:
        baseline=CONFIG.basal.baseline,
        settings=settings_of("input.block_cells"),
        code=code_digest("basal.baselines"),
    script:
        "../workflow_scripts/basal_baseline.py"


rule basal_comparison:
    """What each baseline that can be had leaves of the treated response."""
    input:
        conditions=per_plate(rules.conditions.output.conditions),
        baselines=per_plate(rules.basal_baseline.output.baseline),
    output:
        comparison=f"{RUN}/basal/comparison.parquet",
    log:
        f"{LOGS}/basal_comparison.log",
    benchmark:
        f"{BENCHMARKS}/basal_comparison.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=fitting,
        runtime=minutes,
    params:
        baseline=CONFIG.basal.baseline,
        code=code_digest("basal.comparison"),
    script:
        "../workflow_scripts/basal_comparison.py"
