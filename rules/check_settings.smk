"""Checks of the screen against the settings of later stages. Nothing depends on them, since those settings may change alone."""


rule check_settings:
    """What later stages will want of the screen: covariates, an embedding, lines to hold out, packages."""
    input:
        looks=per_plate(rules.check_plate.output.look),
    output:
        check=f"{RUN}/check_settings.json",
    log:
        f"{LOGS}/check_settings.log",
    benchmark:
        f"{BENCHMARKS}/check_settings.tsv"
    priority: 100
    retries: 0
    localrule: True
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        wanted=dict(
            columns=CONFIG.covariates.obs_columns,
            obsm=(
                CONFIG.embedding.obsm
                if CONFIG.embedding.source == "precomputed"
                and CONFIG.embedding.path is None
                else None
            ),
            held_out_lines=CONFIG.causal.held_out_lines,
            flavor=CONFIG.panel.flavor,
        ),
        per_line=CONFIG.coexpression.per_line,
        num_genes=CONFIG.panel.num_genes,
        code=code_digest("checks"),
    script:
        "../workflow_scripts/check_settings.py"
