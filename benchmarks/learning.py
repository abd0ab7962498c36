"""What the small TX1 of the demo learns: errors at masked genes of held-out wells beside gene means and a PCA, and labels that its embeddings tell.

    python benchmarks/learning.py [--seeds 0 1] [--steps 800] [--folder DIR] [--output benchmarks/results/learning.json]

Each seed is a screen of its own, of the size of the demo, and a model of its own. With `--folder`, what is there already is used again: cell stores
(`DIR/seed0/*.zarr`), an unfinished training, and a trained model, which is then only judged. Time is that of the processor, since a machine that is
shared says nothing by the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from causcade.cells import CellStore
from causcade.config import InputConfig, PerturbationConfig, PretrainingConfig, QualityConfig, SimulationConfig
from causcade.files import read_json, write_json
from causcade.model_judging import judge_model
from causcade.plates import Plate
from causcade.pretraining import pretrain
from causcade.quality import open_plate, store_plate
from causcade.readers import CountsFile
from causcade.simulation import simulate_plate

KEPT = (
    "num_cells", "num_held_out", "num_held_out_wells", "num_genes", "num_parameters", "epoch", "held_out_expression_mse", "held_out_product_mse",
    "gene_mean_mse", "low_rank_mse", "low_rank_dimensions", "over_gene_mean", "over_low_rank", "separability",
)  # fmt: skip


def cell_stores(folder: Path, seed: int, settings: SimulationConfig) -> list[CellStore]:
    """Cell stores of a screen, with the filters of the workflow; made where they are not there."""
    reading = InputConfig()
    for name in settings.plates:
        if (folder / f"{name}.zarr").exists():
            continue
        plate = Plate(name=name, counts=str(folder / f"{name}.h5ad"))
        simulate_plate(settings, seed, name, plate.counts)
        with CountsFile(plate.counts, reading, name) as file:
            view = open_plate(file, plate, reading, PerturbationConfig(), None)
            store_plate(view, folder / f"{name}.zarr", QualityConfig(), columns=[], seed=seed)
    return [CellStore(folder / f"{name}.zarr") for name in settings.plates]


def measure(folder: Path, seed: int, settings: PretrainingConfig, screen: SimulationConfig) -> dict[str, Any]:
    """Train a model, unless it is there, and judge it."""
    folder.mkdir(parents=True, exist_ok=True)
    stores, model, about = cell_stores(folder, seed, screen), folder / "model", folder / "training.json"
    if not (model / "model.safetensors").exists():
        started = time.process_time()
        pretrain(stores, settings, model, checkpoints=folder / "checkpoints", seed=seed, backend="cpu")
        write_json(about, {"training_processor_s": time.process_time() - started})
    summary = read_json(model / "summary.json") | judge_model(stores, settings, model, seed=seed, backend="cpu")
    return {"seed": seed} | (read_json(about) if about.exists() else {}) | {key: summary[key] for key in KEPT if key in summary}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=PretrainingConfig().steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/learning.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = PretrainingConfig(steps=arguments.steps)
    with tempfile.TemporaryDirectory() as name:
        screens = [measure((arguments.folder or Path(name)) / f"seed{seed}", seed, settings, SimulationConfig()) for seed in arguments.seeds]
    about = {"device": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": arguments.threads}
    result = about | {"settings": settings.model_dump(mode="json"), "screens": screens}
    print(json.dumps(result, indent=2))
    write_json(arguments.output, result)


if __name__ == "__main__":
    main()
