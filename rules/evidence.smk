"""Evidence columns of every candidate edge, for the fit to everything and for nulls, bootstraps and held-out perturbations."""

EVIDENCE_FITS = [
    fit for fit in FITS if fit != "noprior" and not fit.startswith("line_")
]


rule evidence:
    """All columns of one fit and, where it holds perturbations out, how the best edges of each predict them."""
    input:
        unpack(weights_of_evidence),
        latent=rules.latent.output.edges,
        partial_correlation=PARTIAL,
        partial_within=PARTIAL_WITHIN,
        conditions=CONDITIONS,
        baselines=BASELINES,
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
