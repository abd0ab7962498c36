"""Candidate edges."""


rule mask:
    """Top coexpression partners of each gene and curated edges, with their provenance."""
    input:
        partners=PARTNERS,
        coexpression=COEXPRESSION,
        prior_edges=rules.resources.output.prior_edges,
        panel=PANEL,
    output:
        edges=f"{RUN}/candidate_edges.parquet",
        summary=f"{RUN}/mask_summary.json",
    log:
        f"{LOGS}/mask.log",
    benchmark:
        f"{BENCHMARKS}/mask.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("mask"),
        code=code_digest("mask"),
    script:
        "../workflow_scripts/mask.py"
