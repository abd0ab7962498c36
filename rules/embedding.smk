"""Embeddings of cells. The axes of the PCA are pinned, as the panel is."""

AXES_ROLL = f"{RUN}/embedding/roll.json"

if CONFIG.embedding.source == "pca" and not stands("embedding_basis"):

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
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("embedding"),
        fingerprint=FINGERPRINTS.get("embedding_basis", ""),
        code=code_digest("embedding"),
    script:
        "../workflow_scripts/embedding_basis.py"


rule embedding:
    """Embed the cells of one plate."""
    input:
        cells=rules.quality.output.cells,
        cell_cycle=rules.panel.output.cell_cycle,
        basis=(
            [rules.embedding_basis.output.basis]
            if CONFIG.embedding.source == "pca"
            else []
        ),
        counts=[] if CONFIG.embedding.source == "pca" else counts_of,
    output:
        embedding=directory(f"{RUN}/embedding/{{plate}}.zarr"),
    log:
        f"{LOGS}/embedding/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/embedding/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        plate=plate_of,
        settings=settings_of("embedding", "input"),
        code=code_digest("embedding"),
    script:
        "../workflow_scripts/embedding.py"


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
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("seed", "backend"),
        code=code_digest("embedding"),
    script:
        "../workflow_scripts/embedding_map.py"
