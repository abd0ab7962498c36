"""Evidence columns of every candidate edge, for the fit to everything and for nulls, bootstraps and held-out perturbations."""

EVIDENCE_FITS = [
    fit for fit in FITS if fit != "noprior" and not fit.startswith("line_")
]


rule evidence_controls:
    """Sums of products over the control cells of one plate."""
    input:
        cells=rules.quality.output.cells,
        panel=rules.panel.output.panel,
        cell_cycle=rules.panel.output.cell_cycle,
    output:
        moments=f"{RUN}/moments_of_controls/{{plate}}.npz",
    log:
        f"{LOGS}/evidence_controls/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/evidence_controls/{{plate}}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placed("coexpression"),
        mem_mb=pairs,
        runtime=minutes_of_cells,
    params:
        settings=SUMS,
        code=code_digest("evidence.partial"),
    script:
        "../workflow_scripts/evidence_controls.py"


rule evidence_partial:
    """Partial correlation of each candidate edge in control cells."""
    input:
        moments=per_plate(rules.evidence_controls.output.moments),
        panel=rules.panel.output.panel,
        edges=rules.mask.output.edges,
    output:
        partial=f"{RUN}/evidence/partial_correlation.parquet",
    log:
        f"{LOGS}/evidence_partial.log",
    benchmark:
        f"{BENCHMARKS}/evidence_partial.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        code=code_digest("evidence.partial"),
    script:
        "../workflow_scripts/evidence_partial.py"


rule evidence:
    """All columns of one fit and, where it holds perturbations out, how the best edges of each predict them."""
    input:
        unpack(weights_of_evidence),
        latent=rules.latent.output.edges,
        partial_correlation=rules.evidence_partial.output.partial,
        partial_within=rules.latent_cells.output.partial,
        conditions=per_plate(rules.conditions.output.conditions),
        baselines=per_plate(rules.basal_baseline.output.baseline),
        targets=rules.unmeasured.output.targets,
        edges=rules.mask.output.edges,
    output:
        evidence=f"{RUN}/evidence/{{fit}}.parquet",
        held_out=f"{RUN}/evidence/held_out/{{fit}}.parquet",
    log:
        f"{LOGS}/evidence/{{fit}}.log",
    benchmark:
        f"{BENCHMARKS}/evidence/{{fit}}.tsv"
    wildcard_constraints:
        fit="main|(edgenull|labelnull|boot|drugs)[0-9]+",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        # Of the causal section, what decides the folds; the fits bring the rest.
        settings=lambda wildcards: {
            "seed": SETTINGS["seed"],
            "causal": (
                {"drug_folds": CONFIG.causal.drug_folds}
                if wildcards.fit.startswith("drugs")
                else {}
            ),
        },
        code=code_digest("evidence"),
    script:
        "../workflow_scripts/evidence.py"
