"""Which gene each perturbation acts on."""


rule targets:
    """Targets of the perturbations that occur: from the drug table, from names, or from a table."""
    input:
        check=CHECK,
        drug_targets=rules.resources.output.drug_targets,
        identifiers=rules.resources.output.identifiers,
        override=[CONFIG.perturbation.targets] if CONFIG.perturbation.targets else [],
    output:
        targets=f"{RUN}/targets.parquet",
    log:
        f"{LOGS}/targets.log",
    benchmark:
        f"{BENCHMARKS}/targets.tsv"
    priority: 100
    localrule: True
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=settings_of("perturbation.separator"),
        code=code_digest("targets"),
    script:
        "../workflow_scripts/targets.py"
