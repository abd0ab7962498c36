"""Pseudobulk of each condition."""


rule conditions:
    """Mean and variance of each perturbation x dose x line of one plate."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        conditions=directory(f"{RUN}/conditions/{{plate}}.zarr"),
    log:
        f"{LOGS}/conditions/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/conditions/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes_of_cells,
    params:
        settings=settings_of("conditions", "input.block_cells"),
        code=code_digest("conditions"),
    script:
        "../workflow_scripts/conditions.py"
