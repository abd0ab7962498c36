"""The gene panel. It is pinned: while it stands, nobody votes, and new plates cost only themselves; `--forcerun panel` renews it."""

CONSENSUS = f"{RUN}/panel/consensus.parquet"


if not stands("panel"):

    rule panel_votes:
        """Rank the genes of one plate by variability."""
        input:
            cells=rules.quality.output.cells,
        output:
            votes=f"{RUN}/panel/votes/{{plate}}.parquet",
        log:
            f"{LOGS}/panel_votes/{{plate}}.log",
        benchmark:
            f"{BENCHMARKS}/panel_votes/{{plate}}.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            **placed("panel"),
            mem_mb=large,
            runtime=minutes_of_cells,
        params:
            # Not all of section `panel`: another size or source is no reason to read the cells again.
            settings=settings_of(
                "panel.flavor",
                "panel.vote_cells",
                "seed",
                "backend",
                "input.block_cells",
            ),
            code=code_digest("panel"),
        script:
            "../workflow_scripts/panel_votes.py"

    rule panel_consensus:
        """Consensus of the votes of all plates there are, and which genes a perturbation targets."""
        input:
            votes=per_plate(rules.panel_votes.output.votes),
            targets=rules.targets.output.targets,
        output:
            consensus=CONSENSUS,
        log:
            f"{LOGS}/panel_consensus.log",
        benchmark:
            f"{BENCHMARKS}/panel_consensus.tsv"
        conda:
            "../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=small,
            runtime=minutes,
        params:
            plates=list(PLATES),
            settings=settings_of("panel.num_hvg"),
            code=code_digest("panel", "targets"),
        script:
            "../workflow_scripts/panel_consensus.py"


rule panel:
    """Fix the genes, and the control genes of the cell-cycle scores."""
    input:
        consensus=CONSENSUS,
        gene_sets=rules.resources.output.gene_sets,
        identifiers=rules.resources.output.identifiers,
    output:
        panel=f"{RUN}/panel.parquet",
        cell_cycle=f"{RUN}/cell_cycle.parquet",
        summary=f"{RUN}/panel_summary.json",
        pin=f"{PINS}/panel.json",
    log:
        f"{LOGS}/panel.log",
    benchmark:
        f"{BENCHMARKS}/panel.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("panel", "seed"),
        fingerprint=FINGERPRINTS["panel"],
        code=code_digest("panel"),
    script:
        "../workflow_scripts/panel.py"
