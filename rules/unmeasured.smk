"""Targets that are not measured."""


rule unmeasured:
    """Which targets are not measured, and the candidate edges by which some of them enter the network."""
    input:
        targets=rules.targets.output.targets,
        panel=PANEL,
        prior_edges=rules.resources.output.prior_edges,
    output:
        targets=f"{RUN}/unmeasured/targets.parquet",
        edges=f"{RUN}/unmeasured/edges.parquet",
    log:
        f"{LOGS}/unmeasured.log",
    benchmark:
        f"{BENCHMARKS}/unmeasured.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("mask"),
        code=code_digest("unmeasured"),
    script:
        "../workflow_scripts/unmeasured.py"
