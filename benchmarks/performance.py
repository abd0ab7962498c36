"""Write docs/performance.md and its figures from what the other benchmarks measured.

    python benchmarks/performance.py [--results benchmarks/results] [--output docs/performance.md]

A benchmark that has not been run has its section left out, and the page says so.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from causcade.files import read_json, write_text

ATLAS_CELLS = 100_648_790
ATLAS_NONZERO = 1.47e11
BYTES_PER_NONZERO = 1.7
# Published by the vendor or measured by others, and named so on the page: nothing here ran on such a machine.
H200_FLOPS = {"float32": 67e12, "fp16_split": 790e12}
STORAGE_BYTES_PER_S = 6e9
H200_CORES = 16
NODE_CORES = 64
COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d96a3")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join("---" for _ in header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def save(figure: Any, path: Path) -> None:
    """Save a figure as SVG whose bytes follow from its content."""
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = "causcade"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def plot_density(compared: list[dict[str, Any]], path: Path) -> None:
    """Ratio of the kernel to ssyrk and to the best sparse library over the density."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.4))
    axes = figure.subplots()
    for colour, name in zip(COLOURS, ("BLAS ssyrk", "MKL sparse x sparse to dense"), strict=False):
        points = [(100 * entry["density"], entry["peers"][name]["ratio"]) for entry in compared if name in entry["peers"]]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=f"against {name}")
    axes.axhline(1, color="#444", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="non-zero entries, %", ylabel="times as many cells/s")
    axes.legend(frameon=False)
    save(figure, path)


def plot_scaling(rows: list[dict[str, float]], path: Path) -> None:
    """Time and peak memory of the job of a plate over its cells."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2))
    left, right = figure.subplots(1, 2)
    cells = [row["cells"] / 1e3 for row in rows]
    left.plot(cells, [row["seconds"] for row in rows], "o-", color=COLOURS[0])
    left.set(xlabel="thousand cells", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    right.plot(cells, [row["peak_gb"] for row in rows], "o-", color=COLOURS[1])
    right.set(xlabel="thousand cells", ylabel="peak memory, GB", xlim=(0, None), ylim=(0, 6))
    figure.tight_layout()
    save(figure, path)


def kernel_section(results: dict[str, Any], folder: Path) -> str:
    """Rates against peers, over the density, and over the cells."""
    compared, facts, scaling = results["compared"], results["facts"], results["scaling"]
    plot_density(compared, folder / "density.svg")
    plot_scaling(scaling["plate"], folder / "scaling.svg")
    full = max(compared, key=lambda entry: len(entry["peers"]))
    peers = [
        [name, f"{peer['peer']:,.0f}", f"{peer['kernel']:,.0f}", f"**{peer['ratio']:.1f}** ({peer['range'][0]:.1f} to {peer['range'][1]:.1f})"]
        for name, peer in sorted(full["peers"].items(), key=lambda item: item[1]["ratio"])
    ]
    densities = []
    for entry in compared:
        ratios = [entry["peers"].get(name) for name in ("BLAS ssyrk", "MKL sparse x sparse to dense")]
        cells = f"{entry['peers']['BLAS ssyrk']['kernel']:,.0f}"
        densities.append(
            [f"{entry['density']:.1%}", cells, "{} / {}".format(*entry["cuts"]), *(f"{peer['ratio']:.1f}" if peer else "" for peer in ratios)]
        )
    after = scaling["coexpression"]
    plate = [[f"{row['cells']:,}", f"{row['seconds']:.1f}", f"{row['peak_gb']:.2f}"] for row in scaling["plate"]]
    return f"""## Sums of products on a CPU

{results["genes"]:,} genes, simulated cells, {facts["threads"]} threads of one machine, numpy {facts["numpy"]}, torch {facts["torch"]}. Each peer is measured in turns with the kernel; the ratio is the
median over the turns (smallest to largest in brackets). Only ratios mean something: the machine is shared, and its rates move.

At {full["density"]:.1%} non-zero entries, cells per second:

{table(["other way", "its cells/s", "causcade's cells/s", "ratio"], peers)}

Over the density (genes multiplied as matrices / genes with a dense column, as the kernel chose):

{table(["non-zero", "cells/s", "cuts", "times BLAS ssyrk", "times the best sparse library"], densities)}

![ratios over the density](images/density.svg)

The job of a plate, from its cell store to the written sums, with 4 numeric covariates, plate and 50 cell lines, each in a process of its own:

{table(["cells", "seconds", "peak GB"], plate)}

Beyond what a job costs whatever its size ({scaling["fixed_s"]:.0f} s), that is {scaling["cells_per_s"]:,.0f} cells/s. The sums of a plate take {scaling["moments_bytes"] / 1e9:.2f} GB on disk.

![time and memory over the number of cells](images/scaling.svg)

What follows the sums (add, residualise, correlate, best 100 partners, write): {after["1"]["seconds"]:.0f} s and {after["1"]["peak_gb"]:.1f} GB for one plate, {after["14"]["seconds"]:.0f} s and {after["14"]["peak_gb"]:.1f} GB for 14.
"""


def precision_section(results: dict[str, Any]) -> str:
    """Errors of the rounded numbers."""
    rows = [[name, f"{found['max_error']:.1e}", f"{found['rms_error']:.1e}"] for name, found in results["precisions"].items()]
    return f"""## Precisions of a GPU, emulated on the CPU

Error of correlations of 512 genes over 8,192 cells against float64, with numbers rounded as `coexpression.precision` says and the sums with the covariates taken from the same rounded
numbers:

{table(["precision", "largest", "root mean square"], rows)}
"""


def atlas_section(results: dict[str, Any]) -> str:
    """Worked estimate for the full atlas, with what limits each."""
    scaling, threads, genes = results["scaling"], results["facts"]["threads"], results["genes"]
    rate, prepared = scaling["cells_per_s"], scaling["prepared_per_core_s"]
    node = ATLAS_CELLS / (rate * NODE_CORES / threads)
    products = ATLAS_CELLS * genes**2
    storage = ATLAS_NONZERO * BYTES_PER_NONZERO / STORAGE_BYTES_PER_S
    rows = [
        [f"{threads} cores, as measured", duration(ATLAS_CELLS / rate), "arithmetic"],
        [f"{NODE_CORES} cores, if rates add up", duration(node), "arithmetic, then memory bandwidth"],
    ]
    for gpus in (1, 8):
        cpu = ATLAS_CELLS / (prepared * H200_CORES * gpus)
        for precision in H200_FLOPS:
            gpu = products * (3 if precision == "fp16_split" else 1) / (H200_FLOPS[precision] * gpus)
            parts = {"products on the GPU": gpu, f"preparing blocks on {H200_CORES * gpus} cores": cpu, "reading 250 GB at 6 GB/s": storage}
            limit = max(parts, key=parts.__getitem__)
            rows.append(
                [
                    f"{gpus} H200, {precision}",
                    duration(parts[limit]),
                    f"{limit} ({', '.join(f'{name} {duration(part)}' for name, part in parts.items() if name != limit)})",
                ]
            )
    return f"""## What the full atlas would take

Worked from the rates above for {ATLAS_CELLS:,} cells and {genes:,} genes; nothing of that size was run, and **no GPU was**: rows with an H200 take the vendor's figures for its arithmetic
(67 TFLOP/s in float32, 790 in fp16) at their full value, blocks prepared at {prepared:,.0f} cells per core-second as measured here, {H200_CORES} cores to a GPU, and a storage of 6 GB/s. Reading, preparing and multiplying
overlap, so that the slowest decides.

{table(["machine", "time of the sums", "limited by"], rows)}

Memory is that of the job of a plate above, whatever the number of cells. Each plate, or shard of one, is a job of its own; a cluster runs them side by side.
"""


def reading_section(results: dict[str, Any]) -> str:
    """Rates of the formats."""
    rows = [
        [row["way"], f"{row['bytes_per_nonzero']:.2f}", f"{row['cells_per_cpu_s']:,.0f}", f"{results['ratios_to_gzip'][row['way']]:.1f}"]
        for row in results["rows"]
    ]
    return f"""## Reading

{results["num_cells"]:,} cells x {results["num_genes"]:,} genes, {results["density"]:.1%} non-zero, files in the page cache, processor time of one thread, median of {results["num_rounds"]} turns:

{table(["format", "bytes per non-zero", "cells per CPU-second", "times gzip h5ad"], rows)}
"""


def added_section(results: dict[str, Any]) -> str:
    """Jobs and time of a plate added to a finished run."""
    full, added = results["full"], results["added"]
    rows = [
        [name, str(sum(part["jobs"].values())), f"{part['job_s']:.0f}", f"{part['cpu_s']:.0f}", f"{part['wall_s']:.0f}"]
        for name, part in ((f"{full['plates']} plates from the start", full), ("one plate added", added))
    ]
    jobs = ", ".join(f"{rule}{f' ({number} jobs)' if number > 1 else ''}" for rule, number in added["jobs"].items())
    return f"""## A plate added to a finished run

Simulated plates, up to partners and conditions, {results["cores"]} processors (seconds of jobs include the start of Python for each):

{table(["run", "jobs", "seconds of jobs", "processor seconds", "wall seconds"], rows)}

The added plate took {results["ratio_job_s"]:.1%} of the time of the jobs of the first {full["plates"]}. Its jobs: {jobs}.
"""


def evaluation_section(results: dict[str, Any], mask: dict[str, Any] | None) -> str:
    """Time and memory of the evaluation and of the mask at atlas size."""
    rows = [
        [
            name,
            f"{part['num_rankings']}",
            f"{part['num_references']}",
            f"{part['num_intervals']:,}",
            f"{part['seconds']:.0f}",
            f"{part['peak_gb']:.1f}",
        ]
        for name, part in (("rankings against references", results["rankings"]), ("the whole stage, with all nulls and fits", results["stage"]))
    ]
    text = f"""## Evaluation

{results["num_edges"]:,} candidate edges of {results["num_genes"]:,} genes, {results["bootstrap"]} resamplings of the genes, {results["facts"]["threads"]} threads:

{table(["what", "rankings", "references", "intervals", "seconds", "peak GB"], rows)}
"""
    if mask:
        text += f"\nThe mask itself: {mask['num_edges']:,} edges in {mask['seconds']:.1f} s and {mask['peak_gb']:.1f} GB.\n"
    return text


def embedding_section(results: dict[str, Any], on_gpu: dict[str, Any] | None) -> str:
    """Rates of the TX1 model and of its tokeniser."""
    rates = [[name, f"{rate:,.0f}"] for name, rate in results["tokeniser"].items()]
    found = results["compared"][0]
    low, high = found["ratio_range"]
    used = found["processor_s"]
    ways = [[name, f"{rate:.2f}", f"{found['cells'] / used[name]:.2f}"] for name, rate in found["cells_per_s"].items()]
    text = f"""## Embedding with TX1

The {found["size"].upper()} shape with random weights, {found["cells"]} cells of 200 to 2,000 genes, {results["facts"]["threads"]} threads, torch {results["facts"]["torch"]}. The peer is the same model written
down plainly: cells in the order of the input, {found["padded_cells"]} at a time, padded to the longest, the same attention call with a mask; both agree within {found["max_difference"]:.0e}. Median of {found["turns"]} turns:

{table(["way", "cells/s", "cells per processor second"], ways)}

In a turn causcade took **{found["ratio"]:.1f}** times fewer seconds than the padded way ({low:.1f} to {high:.1f}), and {used["padded"] / used["causcade"]:.1f} times fewer processor seconds.

The tokeniser alone, cells of 1,000 genes, per processor second:

{table(["tokens of", "cells per processor second"], rates)}
"""
    if on_gpu:
        peak = on_gpu["facts"]["peak_flops_per_s"]
        rows = [
            [
                part["size"].upper(),
                f"{part['cells_per_s']['causcade']:,.0f}",
                f"{part['tokens_per_s']:,.0f}",
                f"{part['flops_per_s'] / 1e12:,.0f}",
                f"{part['flops_per_s'] / peak:.0%}",
                f"{part['ratio']:.1f}",
            ]
            for part in on_gpu["compared"]
        ]
        text += f"""
On one {on_gpu["facts"]["device"]} (bfloat16; the peak is that of a large matrix product measured beside it, {peak / 1e12:,.0f} TFLOP/s):

{table(["shape", "cells/s", "tokens/s", "TFLOP/s", "of the peak", "times padded"], rows)}
"""
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="benchmarks/results")
    parser.add_argument("--output", default="docs/performance.md")
    arguments = parser.parse_args()
    found = {path.stem: read_json(path) for path in sorted(Path(arguments.results).glob("*.json"))}
    images = Path(arguments.output).parent / "images"
    parts = ["# Performance\n\nMade by `make bench`; the numbers are those of the last run that was committed.\n"]
    if "coexpression" in found:
        parts += [kernel_section(found["coexpression"], images), precision_section(found["coexpression"]), atlas_section(found["coexpression"])]
    if "reading" in found:
        parts.append(reading_section(found["reading"]))
    if "added_plate" in found:
        parts.append(added_section(found["added_plate"]))
    if "evaluation" in found:
        parts.append(evaluation_section(found["evaluation"], found.get("mask")))
    if "embedding" in found:
        parts.append(embedding_section(found["embedding"], found.get("embedding_gpu")))
    absent = [
        name
        for name in ("coexpression", "reading", "added_plate", "evaluation", "embedding", "coexpression_gpu", "embedding_gpu")
        if name not in found
    ]
    if absent:
        parts.append(f"Not measured yet: {', '.join(absent)} (`benchmarks/`).\n")
    write_text(arguments.output, "\n".join(parts))


if __name__ == "__main__":
    main()
