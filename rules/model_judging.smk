"""What the model that the run trained is worth on held-out wells; for the report, and on request (`snakemake model_judging`)."""


rule model_judging:
    """Errors at masked genes beside baselines, and labels that embeddings tell beside a PCA."""
    input:
        cells=stores_of_model(),
        weights=rules.pretraining.output.weights,
    output:
        judging=f"{MODEL}/judging.json",
    log:
        f"{LOGS}/model_judging.log",
    benchmark:
        f"{BENCHMARKS}/model_judging.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("model_judging"),
        mem_mb=judging,
        runtime=minutes_of_judging,
        # How it goes on, as for the training.
        micro_cells=CONFIG.pretraining.micro_cells or 0,
    params:
        settings=settings_of("pretraining", "seed", "backend"),
        code=code_digest("model_judging"),
    script:
        "../workflow_scripts/model_judging.py"
