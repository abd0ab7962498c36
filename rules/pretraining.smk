"""TX1, trained on the cells of the run and pinned as the panel is: where the embedding takes it, or on request (`snakemake pretraining`)."""

import json

STORES_ROLL = f"{RUN}/pretraining/roll.json"
MODEL = f"{RUN}/pretraining/{CONFIG.pretraining.name}"
IDS_OF_DRUGS = (
    {"drugs": f"{MODEL}/drug_to_id_pad.json"} if CONFIG.pretraining.drugs else {}
)


if not stands("pretraining"):

    rule pretraining_roll:
        """List the plates that a new model would be trained on."""
        input:
            cells=per_plate(rules.quality.output.cells),
        output:
            roll=STORES_ROLL,
        log:
            f"{LOGS}/pretraining_roll.log",
        benchmark:
            f"{BENCHMARKS}/pretraining_roll.tsv"
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
            "../workflow_scripts/pretraining_roll.py"


rule pretraining:
    """Train the model, or train one further. A stopped training goes on from its last checkpoint."""
    input:
        roll=STORES_ROLL,
        outside=training_files(CONFIG.pretraining),
    output:
        **IDS_OF_DRUGS,
        weights=f"{MODEL}/model.safetensors",
        shape=f"{MODEL}/model_config.yml",
        collator=f"{MODEL}/collator_config.yml",
        vocabulary=f"{MODEL}/vocab.json",
        metrics=f"{MODEL}/metrics.jsonl",
        summary=f"{MODEL}/summary.json",
        pin=f"{PINS}/pretraining.json",
    log:
        f"{LOGS}/pretraining.log",
    benchmark:
        f"{BENCHMARKS}/pretraining.tsv"
    cache: CACHING_PLATES
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: threads_of("pretraining")
    resources:
        **placed("pretraining"),
        mem_mb=training,
        runtime=minutes_of_fit,
        # How it goes on, and no reason to train again, as a parameter would be.
        python=PYTHON,
        processes=processes_of(CONFIG, "pretraining"),
        checkpoints=f"{RUN}/checkpoints/pretraining/{CONFIG.pretraining.name}",
        parallel=CONFIG.pretraining.parallel,
        micro_cells=CONFIG.pretraining.micro_cells or 0,
        checkpoint_every=CONFIG.pretraining.checkpoint_every,
    params:
        settings=json.dumps(settings_of("pretraining", "seed", "backend")),
        fingerprint=fingerprint_of("pretraining"),
        code=code_digest("pretraining"),
    # exec: what asks the job to stop reaches the trainer itself, which then saves its state.
    shell:
        "exec {resources.python} workflow_scripts/pretraining.py {input.roll:q} --settings {params.settings:q} --nodes {resources.nodes} --processes {resources.processes}"
        " --gpus {resources.gpu} --parallel {resources.parallel} --micro-cells {resources.micro_cells} --checkpoint-every {resources.checkpoint_every}"
        " --checkpoints {resources.checkpoints:q} --weights {output.weights:q} --pin {output.pin:q} --fingerprint {params.fingerprint}"
        " --threads {threads} --log {log:q}"
