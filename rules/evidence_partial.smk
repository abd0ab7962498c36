"""Partial correlations of the candidate edges in control cells: sums per plate, then one addition."""


rule evidence_controls:
    """Sums of products over the control cells of one plate."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=f"{RUN}/moments_of_controls/{{plate}}.npz",
    log:
        f"{LOGS}/evidence_controls/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/evidence_controls/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("coexpression"),
        mem_mb=pairs,
        runtime=minutes_of_cells,
    params:
        settings=SUMS,
        code=code_digest("evidence.partial"),
    script:
        "../workflow_scripts/evidence_controls.py"


rule evidence_partial:
    """Partial correlation of each candidate edge in control cells."""
    input:
        moments=per_plate(rules.evidence_controls.output.moments),
        panel=rules.panel.output.panel,
        edges=rules.mask.output.edges,
    output:
        partial=f"{RUN}/evidence/partial_correlation.parquet",
    log:
        f"{LOGS}/evidence_partial.log",
    benchmark:
        f"{BENCHMARKS}/evidence_partial.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        code=code_digest("evidence.partial"),
    script:
        "../workflow_scripts/evidence_partial.py"
