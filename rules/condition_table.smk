"""A table of conditions in place of plates: responses, genes and candidate partners are read off it, where cells would have brought them."""


rule condition_table:
    """Responses of the conditions of the table with their errors, and the perturbations that occur."""
    input:
        table=CONFIG.condition_table.path,
        errors=[CONFIG.condition_table.errors] if CONFIG.condition_table.errors else [],
        identifiers=rules.resources.output.identifiers,
    output:
        conditions=directory(CONDITIONS[0]),
        check=CHECK,
    log:
        f"{LOGS}/condition_table.log",
    benchmark:
        f"{BENCHMARKS}/condition_table.tsv"
    priority: 100
    retries: 0
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=conditions_in_memory,
        runtime=minutes,
    params:
        settings=settings_of(
            "condition_table",
            "perturbation.kind",
            "perturbation.control",
            "perturbation.exclude",
        ),
        code=code_digest("condition_table"),
    script:
        "../workflow_scripts/condition_table.py"


rule condition_table_genes:
    """Roles of the genes, and the best partners of each by correlation between perturbations."""
    input:
        conditions=rules.condition_table.output.conditions,
        targets=rules.targets.output.targets,
        gene_sets=rules.resources.output.gene_sets,
        prior_edges=rules.resources.output.prior_edges,
    output:
        panel=PANEL,
        coexpression=directory(COEXPRESSION),
        partners=PARTNERS,
    log:
        f"{LOGS}/condition_table_genes.log",
    benchmark:
        f"{BENCHMARKS}/condition_table_genes.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: threads_of_pairs
    resources:
        mem_mb=pairs,
        runtime=minutes,
    params:
        settings=settings_of("coexpression.partners"),
        code=code_digest("condition_table_genes"),
    script:
        "../workflow_scripts/condition_table_genes.py"
