"""Each perturbation as a direct part and the cascade that follows it."""


rule cascades:
    """Direct part, hops, paths, similar perturbations, novel edges, gene sets."""
    input:
        model=expand(rules.causal.output.model, fit="main")[0],
        metrics=expand(rules.causal.output.metrics, fit="main"),
        network=rules.network.output.edges,
        conditions=CONDITIONS,
        baselines=BASELINES,
        targets=rules.targets.output.targets,
        gene_sets=rules.resources.output.gene_sets,
    output:
        summary=f"{RUN}/cascades/summary.parquet",
        direct=f"{RUN}/cascades/direct.parquet",
        hops=f"{RUN}/cascades/hops.parquet",
        paths=f"{RUN}/cascades/paths.parquet",
        similarity=f"{RUN}/cascades/similarity.parquet",
        novel_edges=f"{RUN}/cascades/novel_edges.parquet",
        gene_sets=f"{RUN}/cascades/gene_sets.parquet",
    log:
        f"{LOGS}/cascades.log",
    benchmark:
        f"{BENCHMARKS}/cascades.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("cascades"),
        code=code_digest("cascades"),
    script:
        "../workflow_scripts/cascades.py"
