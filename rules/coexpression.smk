"""Residual coexpression: sums per plate, in shards where it is large, then one addition; on request, one matrix per cell line."""

# Covariates, and what decides how the products are rounded. How a plate is cut is no parameter: it changes no result.
SUMS = settings_of(
    "covariates", "backend", "input.block_cells", "coexpression.precision"
)


rule coexpression_moments:
    """Sums of products of one plate, in one job."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=f"{RUN}/moments/{{plate}}.npz",
    log:
        f"{LOGS}/coexpression_moments/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_moments/{{plate}}.tsv"
    wildcard_constraints:
        plate=one_of(name for name, number in NUM_SHARDS.items() if number == 1),
    cache: CACHING_PLATES
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_sums
    resources:
        **placed("coexpression"),
        mem_mb=pairs,
        runtime=minutes_of_cells,
    params:
        shard=0,
        num_shards=1,
        settings=SUMS,
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_moments.py"


rule coexpression_moments_shard:
    """Sums of products of one shard of a large plate; they go once they are added up."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=temp(f"{RUN}/moments/shards/{{plate}}/{{shard}}of{{num_shards}}.npz"),
    log:
        f"{LOGS}/coexpression_moments_shard/{{plate}}_{{shard}}of{{num_shards}}.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_moments_shard/{{plate}}_{{shard}}of{{num_shards}}.tsv"
    wildcard_constraints:
        plate=LARGE_PLATES,
        shard="[0-9]+",
        num_shards="[0-9]+",
    cache: CACHING_PLATES
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_sums
    resources:
        **placed("coexpression"),
        mem_mb=pairs,
        runtime=minutes_of_cells,
    params:
        shard=lambda wildcards: int(wildcards.shard) - 1,
        num_shards=lambda wildcards: int(wildcards.num_shards),
        settings=SUMS,
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_moments.py"


rule coexpression_moments_sum:
    """Add the shards of a large plate."""
    input:
        moments=shards_of,
    output:
        moments=f"{RUN}/moments/{{plate}}.npz",
    log:
        f"{LOGS}/coexpression_moments_sum/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_moments_sum/{{plate}}.tsv"
    wildcard_constraints:
        plate=LARGE_PLATES,
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        # Not read by the script: the shards are gone after a run, and their parameters with them.
        settings=SUMS,
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_moments_sum.py"


rule coexpression:
    """Add the plates, residualise, correlate, and keep the best partners of each gene."""
    input:
        moments=per_plate(rules.coexpression_moments.output.moments),
        panel=rules.panel.output.panel,
    output:
        coexpression=directory(f"{RUN}/coexpression.zarr"),
        partners=f"{RUN}/partners.parquet",
    log:
        f"{LOGS}/coexpression.log",
    benchmark:
        f"{BENCHMARKS}/coexpression.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        settings={"coexpression": {"partners": CONFIG.coexpression.partners}},
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression.py"


rule coexpression_lines_moments:
    """Sums of products of each cell line of one plate."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=directory(f"{RUN}/moments_by_line/{{plate}}"),
    log:
        f"{LOGS}/coexpression_lines_moments/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_lines_moments/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_sums
    resources:
        **placed("coexpression"),
        mem_mb=pairs,
        runtime=minutes_of_cells,
    params:
        settings=SUMS,
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_lines_moments.py"


rule coexpression_lines:
    """Add the plates of each cell line, and correlate."""
    input:
        moments=per_plate(rules.coexpression_lines_moments.output.moments),
        panel=rules.panel.output.panel,
    output:
        lines=directory(f"{RUN}/coexpression_by_line"),
    log:
        f"{LOGS}/coexpression_lines.log",
    benchmark:
        f"{BENCHMARKS}/coexpression_lines.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        settings={"coexpression": {"partners": CONFIG.coexpression.partners}},
        code=code_digest("coexpression"),
    script:
        "../workflow_scripts/coexpression_lines.py"
