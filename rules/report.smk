"""The manifest and the page."""


rule manifest:
    """Resolved configuration, versions, commit, device, seeds, identity of the inputs."""
    input:
        inputs=run_inputs,
        check=rules.check.output.check,
    output:
        manifest=f"{RUN}/manifest.json",
    log:
        f"{LOGS}/manifest.log",
    benchmark:
        f"{BENCHMARKS}/manifest.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=SETTINGS,
        # Of every stage: the commit and the versions have to be those that the results were made with.
        code=code_digest("manifest", *STAGES),
    script:
        "../workflow_scripts/manifest.py"


rule report:
    """One self-contained page."""
    input:
        manifest=rules.manifest.output.manifest,
        resources=rules.resources.output.manifest,
        quality=rules.quality_summary.output.summary,
        panel=rules.panel.output.summary,
        lines=(
            [rules.coexpression_lines.output.lines]
            if CONFIG.coexpression.per_line
            else []
        ),
        mask=rules.mask.output.summary,
        pretraining=(
            [rules.pretraining.output.summary] if CONFIG.embedding.trains else []
        ),
        map=rules.embedding_map.output.map,
        basal=[rules.basal.output.metrics] if HAS_DECODER else [],
        baselines=rules.basal_comparison.output.comparison,
        causal=expand(rules.causal.output.metrics, fit=FITS),
        network=rules.network.output.edges,
        evaluation=rules.evaluation.output.summary,
        cascades=rules.cascades.output.summary,
    output:
        page=f"{RUN}/report/index.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("report", "run"),
        code=code_digest("report"),
    script:
        "../workflow_scripts/report.py"
