"""Embeddings of cells. The axes of the PCA are pinned, as the panel is; so is a model that the run trains itself."""

AXES_ROLL = f"{RUN}/embedding/roll.json"
SOURCE = CONFIG.embedding.source
# What the cells of a plate are embedded with, beside their counts.
EMBEDDED_WITH = {
    "tx1": (
        [
            rules.pretraining.output.weights,
            rules.pretraining.output.shape,
            rules.pretraining.output.collator,
            rules.pretraining.output.vocabulary,
        ]
        if CONFIG.embedding.trains
        else model_files(CONFIG.embedding.model)
    ),
    "pca": [f"{RUN}/embedding/basis.npz"],
    "precomputed": [],
}[SOURCE]
# Settings beside those of the section: TX1 samples genes of long cells, and may know the drug that controls got.
EMBEDDED_BY = ["seed", "backend", "perturbation.control"] if SOURCE == "tx1" else []
WITH_GENES = SOURCE == "tx1" and CONFIG.embedding.gene_embeddings
SUMS_OF_GENES = {"genes": f"{RUN}/embedding/genes/{{plate}}.npz"} if WITH_GENES else {}


if SOURCE == "pca" and not stands("embedding_basis"):

    rule embedding_roll:
        """Name the sums that new axes would be computed from."""
        input:
            coexpression=rules.coexpression.output.coexpression,
        output:
            roll=AXES_ROLL,
        log:
            f"{LOGS}/embedding_roll.log",
        benchmark:
            f"{BENCHMARKS}/embedding_roll.tsv"
        priority: BEFORE_FITS
        localrule: True
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=small,
            runtime=minutes,
        params:
            plates=list(PLATES),
        script:
            "../workflow_scripts/embedding_roll.py"


rule embedding_basis:
    """Principal axes of the panel, from the sums over all plates."""
    input:
        roll=AXES_ROLL,
        panel=rules.panel.output.panel,
    output:
        basis=f"{RUN}/embedding/basis.npz",
        pin=f"{PINS}/embedding_basis.json",
    log:
        f"{LOGS}/embedding_basis.log",
    benchmark:
        f"{BENCHMARKS}/embedding_basis.tsv"
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("embedding"),
        fingerprint=FINGERPRINTS.get("embedding_basis", ""),
        code=code_digest("embedding.pca"),
    script:
        "../workflow_scripts/embedding_basis.py"


rule embedding:
    """Embed the cells of one plate."""
    input:
        cells=rules.quality.output.cells,
        cell_cycle=rules.panel.output.cell_cycle,
        model=EMBEDDED_WITH,
        files=embedding_of,
    output:
        **SUMS_OF_GENES,
        embedding=directory(f"{RUN}/embedding/{{plate}}.zarr"),
    log:
        f"{LOGS}/embedding/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/embedding/{{plate}}.tsv"
    cache: CACHING_PLATES
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: threads_of("embedding")
    resources:
        **placed("embedding"),
        mem_mb=inference,
        runtime=minutes_of_embedding,
        # Where things are decides nothing.
        counts=place_of,
        checkpoints=lambda wildcards: f"{RUN}/checkpoints/embedding/{wildcards.plate}",
    params:
        plate=plate_of,
        settings=settings_of("embedding", "input", *EMBEDDED_BY),
        code=code_digest(f"embedding.{SOURCE}"),
    script:
        "../workflow_scripts/embedding.py"


if WITH_GENES:

    rule embedding_genes:
        """Mean embedding of each gene over the cells of all plates."""
        input:
            sums=per_plate(rules.embedding.output.genes),
            panel=rules.panel.output.panel,
        output:
            genes=f"{RUN}/embedding/genes.parquet",
        log:
            f"{LOGS}/embedding_genes.log",
        benchmark:
            f"{BENCHMARKS}/embedding_genes.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=small,
            runtime=minutes,
        params:
            code=code_digest("embedding.genes"),
        script:
            "../workflow_scripts/embedding_genes.py"


rule embedding_map:
    """A map of a sample of the embedded cells, for the report."""
    input:
        embeddings=per_plate(rules.embedding.output.embedding),
    output:
        map=f"{RUN}/embedding/map.parquet",
    log:
        f"{LOGS}/embedding_map.log",
    benchmark:
        f"{BENCHMARKS}/embedding_map.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("embedding_map"),
        mem_mb=tables,
        runtime=minutes,
    params:
        settings=settings_of("seed", "backend"),
        code=code_digest("embedding.map"),
    script:
        "../workflow_scripts/embedding_map.py"
