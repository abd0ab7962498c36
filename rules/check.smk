"""Checks that need the data; everything depends on them."""

# What tells the perturbation of a cell. Targets and the unit of doses come later: a table of targets reads no cell again.
LABELS = {
    key: value
    for key, value in SETTINGS["perturbation"].items()
    if key not in ("targets", "separator", "dose_unit")
}


rule check_plate:
    """Labels, controls, gene ids and a sample of the counts of one plate."""
    input:
        counts=counts_of,
        tables=tables_of,
        identifiers=rules.resources.output.identifiers,
    output:
        look=f"{RUN}/check/{{plate}}.json",
    log:
        f"{LOGS}/check_plate/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/check_plate/{{plate}}.tsv"
    priority: 100
    retries: 0
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=large,
        runtime=minutes_of_cells,
        counts=place_of,
    params:
        plate=plate_of,
        inside=inside_of,
        settings=settings_of("input") | {"perturbation": LABELS},
        code=code_digest("checks"),
    script:
        "../workflow_scripts/check_plate.py"


rule check:
    """The screen as a whole: controls of every line, kinds of perturbations."""
    input:
        looks=per_plate(rules.check_plate.output.look),
    output:
        check=f"{RUN}/check.json",
    log:
        f"{LOGS}/check.log",
    benchmark:
        f"{BENCHMARKS}/check.tsv"
    priority: 100
    retries: 0
    localrule: True
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings={"perturbation": LABELS},
        code=code_digest("checks"),
    script:
        "../workflow_scripts/check.py"
