"""Residual coexpression: sums per plate, then one addition."""


rule coexpression_moments:
    """Sums of products of one plate."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=f"{RUN}/moments/{{plate}}.npz",
    log:
        f"{LOGS}/coexpression_moments/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_moments/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("covariates", "backend", "input.block_cells"),
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_moments.py"


rule coexpression:
    """Add the plates, residualise, correlate, and keep the best partners of each gene."""
    input:
        moments=per_plate(rules.coexpression_moments.output.moments),
        panel=rules.panel.output.panel,
    output:
        coexpression=directory(f"{RUN}/coexpression.zarr"),
        partners=f"{RUN}/partners.parquet",
    log:
        f"{LOGS}/coexpression.log",
    benchmark:
        f"{BENCHMARKS}/coexpression.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("coexpression"),
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression.py"
