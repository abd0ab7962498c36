"""The directed network and its exports."""


rule network:
    """Directed, signed, scored edges with provenance and stability."""
    input:
        fits=expand(rules.causal.output.model, fit=FITS),
        conditions=per_plate(rules.conditions.output.conditions),
        baselines=per_plate(rules.basal_baseline.output.baseline),
        targets=rules.targets.output.targets,
        edges=rules.mask.output.edges,
    output:
        edges=f"{RUN}/network/edges.parquet",
        tsv=f"{RUN}/network/edges.tsv",
        graphml=f"{RUN}/network/network.graphml",
        gmt=f"{RUN}/network/regulons.gmt",
    log:
        f"{LOGS}/network.log",
    benchmark:
        f"{BENCHMARKS}/network.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("network"),
        fits=FITS,
        code=code_digest("network"),
    script:
        "../workflow_scripts/network.py"
