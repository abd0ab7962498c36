"""Do embeddings of the demo's small TX1 tell treated cells from controls? The protocol is in docs/design/013-treated-cells.md.

    python benchmarks/treated_cells.py [--seeds 30 31 32 33] [--folder DIR] [--output benchmarks/results/treated_cells.json]

Each seed is a screen of its own, and a model of its own, trained as in the demo. Held-out cells are judged by the votes of their neighbours among
training cells (`causcade.model_judging.treated_question`), beside a PCA of as many dimensions. Labels of whole wells are permuted within plates; the
mean over screens is compared with the mean of as many permutations of each. With `--folder`, what is there already is used again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning import cell_stores, measure

from causcade.config import PretrainingConfig, SimulationConfig
from causcade.files import read_json, write_json
from causcade.model_judging import treated_question
from causcade.training_cells import split_cells
from causcade.tx1.checkpoint import read_checkpoint
from causcade.tx1.separability import balanced_votes, linear_probe

NUM_PLATES = 6  # each drug and dose on two of them
HELD_OUT = 0.4
TREATED_CELLS = (3000, 2000)  # of the treated cells, and of the controls: most that vote, and that are judged
PERMUTATIONS = 999


def told(folder: Path, seed: int, settings: PretrainingConfig, screen: SimulationConfig) -> dict[str, dict[str, Any]]:
    """Judge the votes of neighbours, by embedding; `permuted` holds the accuracy of each permutation."""
    stores, model = cell_stores(folder, seed, screen), read_checkpoint(folder / "model", device=torch.device("cpu"))
    question = treated_question(model, stores, split_cells(stores, settings, seed), seed, num_cells=TREATED_CELLS)
    if question is None:
        raise AssertionError("the screen has treated cells and controls, held out and not")
    found = {}
    for name, (reference_ND, query_ND) in question.embeddings.items():
        votes = balanced_votes(reference_ND, question.reference, query_ND, question.query, permutations=PERMUTATIONS, seed=seed)
        found[name] = {
            "accuracy": votes.accuracy, "standard_error": votes.standard_error, "permuted": votes.permuted_P.tolist(), "num_cells": votes.num_cells,
            "num_wells": votes.num_wells, "num_voting": len(reference_ND),
            "probe_accuracy": linear_probe(reference_ND, question.reference.labels, query_ND, question.query.labels),
        }  # fmt: skip
    return found


def against_chance(accuracy: float, permuted_P: np.ndarray) -> dict[str, float]:
    """Stand of an accuracy among those of permuted labels; p counts the labels as they are among the permutations."""
    p = (1 + int((permuted_P >= accuracy).sum())) / (1 + len(permuted_P))
    return {"accuracy": accuracy, "permuted_accuracy": float(permuted_P.mean()), "permuted_high": float(np.percentile(permuted_P, 95)), "p": p}


def summarise(screens: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over screens in each embedding, against the mean of one permutation of each screen; takes the permutations out of the records."""
    means = {}
    for name in screens[0]["treated"]:
        of_screens = [screen["treated"][name] for screen in screens]
        permuted_SP = np.array([found.pop("permuted") for found in of_screens])
        for found, permuted_P in zip(of_screens, permuted_SP, strict=True):
            found |= against_chance(found["accuracy"], permuted_P)
        means[name] = against_chance(float(np.mean([found["accuracy"] for found in of_screens])), permuted_SP.mean(axis=0))
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[30, 31, 32, 33])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/treated_cells.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = PretrainingConfig(held_out=HELD_OUT)
    screen = SimulationConfig(plates=[f"plate{number}" for number in range(1, NUM_PLATES + 1)])
    screens = []
    with tempfile.TemporaryDirectory() as name:
        for seed in arguments.seeds:
            folder, started = (arguments.folder or Path(name)) / f"seed{seed}", time.process_time()
            judged = folder / "judged.json"
            if not judged.exists():
                record = measure(folder, seed, settings, screen) | {"treated": told(folder, seed, settings, screen)}
                write_json(judged, record | {"processor_s": time.process_time() - started})
            screens.append(read_json(judged))
    about = {"device": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": arguments.threads}
    about |= {"settings": settings.model_dump(mode="json"), "screen": screen.model_dump(mode="json"), "permutations": PERMUTATIONS}
    result = about | {"mean_over_screens": summarise(screens), "screens": screens}
    print(json.dumps(result, indent=2))
    write_json(arguments.output, result)


if __name__ == "__main__":
    main()
