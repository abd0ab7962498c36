"""Curated resources, normalised to approved symbols."""


rule resources:
    """Prior edges, reference pairs, gene sets and drug targets, with a manifest."""
    input:
        unpack(resource_inputs),
    output:
        identifiers=f"{RUN}/resources/identifiers.parquet",
        prior_edges=f"{RUN}/resources/prior_edges.parquet",
        reference_pairs=f"{RUN}/resources/reference_pairs.parquet",
        reference_universe=f"{RUN}/resources/reference_universe.parquet",
        gene_sets=f"{RUN}/resources/gene_sets.parquet",
        drug_targets=f"{RUN}/resources/drug_targets.parquet",
        manifest=f"{RUN}/resources/manifest.json",
    log:
        f"{LOGS}/resources.log",
    benchmark:
        f"{BENCHMARKS}/resources.tsv"
    cache: "omit-storage-content" if CACHING else False
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("resources"),
        simulated=CONFIG.is_simulated,
        files=resource_files(CONFIG),
        code=code_digest("resources"),
    script:
        "../workflow_scripts/resources.py"
