"""Quality control of each plate, and the cell store that everything after reads."""


rule quality:
    """Filter the cells of one plate and store the counts of those that are kept; all genes are kept."""
    input:
        counts=counts_of,
        tables=tables_of,
        look=rules.check_plate.output.look,
        identifiers=rules.resources.output.identifiers,
    output:
        cells=directory(f"{RUN}/cells/{{plate}}.zarr"),
        table=f"{RUN}/quality/{{plate}}.parquet",
    log:
        f"{LOGS}/quality/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/quality/{{plate}}.tsv"
    cache: CACHING_PLATES
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("quality"),
        mem_mb=large,
        runtime=minutes_of_cells,
        counts=place_of,
    params:
        plate=plate_of,
        inside=inside_of,
        settings=settings_of("input", "quality", "seed", "backend")
        | {"perturbation": LABELS},
        columns=CONFIG.covariates.obs_columns,
        code=code_digest("quality"),
    script:
        "../workflow_scripts/quality.py"


rule quality_summary:
    """What was kept and what was removed, and why."""
    input:
        tables=per_plate(rules.quality.output.table),
    output:
        summary=f"{RUN}/quality/summary.json",
    log:
        f"{LOGS}/quality_summary.log",
    benchmark:
        f"{BENCHMARKS}/quality_summary.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=tables,
        runtime=minutes,
    params:
        plates=list(PLATES),
        code=code_digest("quality"),
    script:
        "../workflow_scripts/quality_summary.py"
