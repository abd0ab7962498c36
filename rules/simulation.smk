"""The simulated screen: resources in their upstream formats, the truth apart, and one rule per plate."""

from causcade.resource_catalogue import SIMULATED_FILES

# Without the list of plates: a plate is drawn from its own name, so that another one changes nothing.
SIMULATION = {
    key: value for key, value in SETTINGS["simulation"].items() if key != "plates"
}


rule simulation_resources:
    """Simulated resources, and the truth, which only `evaluation` reads."""
    output:
        resources=[
            f"{RUN}/simulation/resources/{name}" for name in SIMULATED_FILES.values()
        ],
        edges=f"{RUN}/simulation/truth/edges.parquet",
        direct=f"{RUN}/simulation/truth/direct_effects.parquet",
        responses=f"{RUN}/simulation/truth/responses.parquet",
    log:
        f"{LOGS}/simulation_resources.log",
    benchmark:
        f"{BENCHMARKS}/simulation_resources.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=SIMULATION,
        seed=CONFIG.seed,
        code=code_digest("simulation"),
    script:
        "../workflow_scripts/simulation_resources.py"


rule simulation_plate:
    """One simulated plate, in the layout of Tahoe-100M."""
    output:
        counts=f"{RUN}/simulation/{{plate}}.h5ad",
    log:
        f"{LOGS}/simulation_plate/{{plate}}.log",
    benchmark:
        f"{BENCHMARKS}/simulation_plate/{{plate}}.tsv"
    priority: BEFORE_FITS
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=small,
        runtime=minutes,
    params:
        settings=SIMULATION,
        seed=CONFIG.seed,
        code=code_digest("simulation"),
    script:
        "../workflow_scripts/simulation_plate.py"
