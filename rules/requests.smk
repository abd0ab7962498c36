"""What the jobs ask for: threads, memory, time, GPUs and nodes, by cells, genes, models and attempt; and whether the cluster has it.

A profile overrides any of it by rule.
"""

import os
import sys

from causcade.devices import (
    gpus_of,
    has_gpu_device,
    placement,
    processes_of,
    threads_beside_gpus,
)
from causcade.embedding_cost import longest_judging_seconds, longest_seconds, memory_mb
from causcade.preflight import check_requests, cpu_build_of_torch, request_of
from causcade.shards import num_threads, num_threads_of_pairs


def threads_of_sums(wildcards):
    """Threads of a job that takes sums over cells, by how many cells it is expected to have."""
    return num_threads(NUM_CELLS[wildcards.plate], NUM_SHARDS[wildcards.plate])


def genes_of_panel():
    """Genes that the panel is expected to have; None where nothing tells."""
    return (
        CONFIG.simulation.num_genes if CONFIG.is_simulated else CONFIG.panel.num_genes
    )


def threads_of_pairs(wildcards):
    """Threads of a job on matrices of gene pairs."""
    return num_threads_of_pairs(genes_of_panel())


def threads_of(stage):
    """Function that tells the threads of the jobs of a stage: eight for each GPU, which make its tokens, else one for each process.

    Whether torch is built for GPUs is known here; whether there are any is known only where jobs run on this machine, which a dry run does not tell.
    """

    def threads(wildcards):
        plugin = workflow.executor_plugin
        is_here = plugin is not None and plugin.name == "local"
        may_have = cpu_build_of_torch() is None and (not is_here or has_gpu_device())
        return threads_beside_gpus(CONFIG, stage, may_have_gpus=may_have)

    return threads


def names_of(plate):
    """Memory in MB of the names, labels and metrics of a plate's cells: a kilobyte each."""
    return (NUM_CELLS[plate] or 0) // 1000


def small(wildcards, attempt):
    """Memory in MB of a job on tables."""
    return 2000 * attempt


def large(wildcards, attempt):
    """Memory in MB of a job on cells, those of its plate where it has one."""
    plate = getattr(wildcards, "plate", None)
    return (4000 + (0 if plate is None else names_of(plate))) * attempt


def conditions_in_memory(wildcards, attempt):
    """Memory in MB of a job that holds a table of conditions: some copies of it in float64, of which a compressed table gives few bytes."""
    return (
        4000 + 10 * os.path.getsize(CONFIG.condition_table.path) // 1_000_000
    ) * attempt


def tables(wildcards, attempt):
    """Memory in MB of a job on tables of the cells of all plates, one after the other."""
    return (2000 + max(map(names_of, PLATES))) * attempt


def training(wildcards, attempt):
    """Memory in MB of the training of a model: weights, gradients and moments of each process, beside the cells."""
    model = CONFIG.pretraining.processes * memory_mb(CONFIG, "pretraining")
    return tables(wildcards, attempt) + (2000 + model) * attempt


def judging(wildcards, attempt):
    """Memory in MB of the job that judges the trained model, one process beside the cells."""
    return (
        tables(wildcards, attempt) + (2000 + memory_mb(CONFIG, "pretraining")) * attempt
    )


def decoding(wildcards, attempt):
    """Memory in MB of the fit of the basal decoder: each process holds it, the first one a table of the cells of a plate too."""
    return tables(wildcards, attempt) + 2000 * CONFIG.basal.processes * attempt


def fitting(wildcards, attempt):
    """Memory in MB of a causal fit: each process holds the fit, the first one the conditions of a plate too."""
    return (4000 + 2000 * CONFIG.causal.processes) * attempt


def inference(wildcards, attempt):
    """Memory in MB of a job that embeds cells: the model where there is one, beside the cells."""
    model = memory_mb(CONFIG, "embedding", NUM_CELLS[wildcards.plate] or 0)
    return large(wildcards, attempt) + model * attempt


def pairs(wildcards, attempt):
    """Memory in MB of a job on gene pairs: some matrices of the panel's size, in float64, beside the cells."""
    num_genes = genes_of_panel() or 0
    plate = getattr(wildcards, "plate", None)
    cells = 0 if plate is None else names_of(plate)
    return (max(4000, 1500 + round(16e-6 * num_genes**2)) + cells) * attempt


# Time limits. A job that reaches one is tried again with more; jobs that keep checkpoints go on where they were.
# Cells a minute, of a job that reads all cells of a plate: a twentieth of the slowest that was measured (docs/performance.md).
CELLS_PER_MINUTE = 25_000
# Beyond a day few partitions take a job.
LONGEST = 1440


def minutes(wildcards, attempt):
    """Time limit in minutes of a job on tables."""
    return 60 * attempt


def minutes_of_cells(wildcards, attempt):
    """Time limit in minutes of a job that reads the cells of a plate, or of one of its shards."""
    number = int(getattr(wildcards, "num_shards", 1))
    cells = (NUM_CELLS[wildcards.plate] or 0) // number
    return min((60 + cells // CELLS_PER_MINUTE) * attempt, LONGEST)


def minutes_of_embedding(wildcards, attempt):
    """Time limit in minutes of a job that embeds the cells of a plate."""
    cells, has_gpu = NUM_CELLS[wildcards.plate] or 0, gpus_of(CONFIG, "embedding") > 0
    model = round(longest_seconds(CONFIG, cells, on_gpu=has_gpu) / 60)
    return min(minutes_of_cells(wildcards, attempt) + model * attempt, LONGEST)


def minutes_of_judging(wildcards, attempt):
    """Time limit in minutes of the job that judges the trained model."""
    has_gpu = gpus_of(CONFIG, "model_judging") > 0
    model = round(longest_judging_seconds(CONFIG, on_gpu=has_gpu) / 60)
    return min((60 + model) * attempt, LONGEST)


def minutes_of_fit(wildcards, attempt):
    """Time limit in minutes of a job that fits or trains a model, which goes on from its checkpoint."""
    return min(240 * attempt, LONGEST)


def placed(stage):
    """GPUs and nodes of the jobs of a stage."""
    return placement(CONFIG, stage)


def ask_cluster():
    """Compare what the jobs ask for with what Slurm has, before the first one is submitted."""
    if workflow.executor_plugin.name != "slurm":
        return
    settings = workflow.executor_settings
    options = {"--qos": settings.qos, "--reservation": settings.reservation}
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    requests = [
        request_of(job.rule.name, dict(job.resources.items()), job.threads)
        for job in jobs
    ]
    try:
        check_requests(
            requests,
            partition_file=settings.partition_config,
            options=[f"{name}={value}" for name, value in options.items() if value],
        )
    except ConfigError as error:
        print(f"causcade: {error}", file=sys.stderr)
        sys.exit(2)
    built_for_cpus = cpu_build_of_torch() if PYTHON == sys.executable else None
    if built_for_cpus and any(request.gpus for request in requests):
        print(
            f"causcade: torch {built_for_cpus} of this environment is built for CPUs: jobs will hold GPUs and compute on CPUs."
            " Install envs/gpu.yaml, or write `backend: cpu`.",
            file=sys.stderr,
        )
