"""The directed network and its exports."""

# What the table is made of; folds, and perturbations that bootstraps left out, help to choose the column that ranks it.
RESAMPLED = [fit for fit in EVIDENCE_FITS if fit == "main" or fit.startswith("boot")]
LEFT_OUT = [fit for fit in EVIDENCE_FITS if fit.startswith(("drugs", "boot"))]


rule network:
    """Directed, signed, scored edges with provenance and stability."""
    input:
        main=expand(rules.causal.output.model, fit="main")[0],
        noprior=expand(rules.causal.output.model, fit="noprior")[0],
        evidence=expand(rules.evidence.output.evidence, fit=RESAMPLED),
        held_out=expand(rules.evidence.output.held_out, fit=LEFT_OUT),
        conditions=CONDITIONS,
        baselines=BASELINES,
        targets=rules.unmeasured.output.targets,
        edges=rules.mask.output.edges,
        unmeasured=rules.unmeasured.output.edges,
        latent=expand(rules.latent.output.unmeasured, fit=RESAMPLED),
    output:
        edges=f"{RUN}/network/edges.parquet",
        choice=f"{RUN}/network/score_choice.json",
        tsv=f"{RUN}/network/edges.tsv",
        graphml=f"{RUN}/network/network.graphml",
        gmt=f"{RUN}/network/regulons.gmt",
    log:
        f"{LOGS}/network.log",
    benchmark:
        f"{BENCHMARKS}/network.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes,
    params:
        settings=settings_of("network"),
        fits=RESAMPLED,
        has_cells=HAS_CELLS,
        code=code_digest("network"),
    script:
        "../workflow_scripts/network.py"
