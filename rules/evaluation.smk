"""Every ranking of the candidate edges against references, controls and, where it is known, the truth."""

# Folds of held-out perturbations rank no edges.
JUDGED = [fit for fit in EVIDENCE_FITS if not fit.startswith("drugs")]


rule evaluation:
    """References, nulls, hubs, held-out perturbations and lines."""
    input:
        evidence=expand(rules.evidence.output.evidence, fit=JUDGED),
        choice=rules.network.output.choice,
        held_out=expand(rules.causal.output.held_out, fit=FITS),
        conditions=CONDITIONS,
        baselines=BASELINES,
        targets=rules.targets.output.targets,
        edges=rules.mask.output.edges,
        panel=PANEL,
        coexpression=COEXPRESSION,
        prior_edges=rules.resources.output.prior_edges,
        pairs=rules.resources.output.reference_pairs,
        universe=rules.resources.output.reference_universe,
        truth=[f"{RUN}/simulation/truth/edges.parquet"] if CONFIG.is_simulated else [],
    output:
        metrics=f"{RUN}/evaluation/metrics.parquet",
        curves=f"{RUN}/evaluation/curves.parquet",
        gains=f"{RUN}/evaluation/gains.parquet",
        evidence_gains=f"{RUN}/evaluation/evidence_gains.parquet",
        drug_bootstrap=f"{RUN}/evaluation/drug_bootstrap.parquet",
        leak=f"{RUN}/evaluation/leak.parquet",
        hubs=f"{RUN}/evaluation/hubs.parquet",
        hub_tests=f"{RUN}/evaluation/hub_tests.parquet",
        held_out=f"{RUN}/evaluation/held_out.parquet",
        summary=f"{RUN}/evaluation/summary.json",
    log:
        f"{LOGS}/evaluation.log",
    benchmark:
        f"{BENCHMARKS}/evaluation.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("evaluation", "seed"),
        fits=FITS,
        judged=JUDGED,
        code=code_digest("evaluation"),
    script:
        "../workflow_scripts/evaluation.py"
