"""The manifest and the page."""

# What the page shows of cells.
OF_CELLS = []
if HAS_CELLS:
    OF_CELLS += [
        rules.quality_summary.output.summary,
        rules.panel.output.summary,
        rules.embedding_map.output.map,
        rules.basal_comparison.output.comparison,
    ]
    if CONFIG.coexpression.per_line:
        OF_CELLS += [rules.coexpression_lines.output.lines]
    if CONFIG.embedding.trains:
        OF_CELLS += [
            rules.pretraining.output.summary,
            rules.model_judging.output.judging,
        ]
    if HAS_DECODER:
        OF_CELLS += [rules.basal.output.metrics]


rule manifest:
    """Resolved configuration, versions, commit, device, seeds, identity of the inputs."""
    input:
        inputs=run_inputs,
        check=CHECK,
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
        cells=OF_CELLS,
        check=CHECK,
        mask=rules.mask.output.summary,
        unmeasured=rules.unmeasured.output.targets,
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
