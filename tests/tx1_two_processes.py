"""Trains a small model as one of several processes; run by test_tx1_parallel.py with torchrun's variables in the environment.

python tests/tx1_two_processes.py FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tx1_training_cases import COLLATION, VOCABULARY, make_model

from causcade.cells import CellStore
from causcade.tx1.parallel import Group, open_group, whole_state
from causcade.tx1.sources import StoreCells
from causcade.tx1.stream import TrainingStream
from causcade.tx1.trainer import TrainingSettings, train
from causcade.tx1.validation import Validation, sample_cells

SETTINGS = TrainingSettings(steps=8, learning_rate=1e-2, checkpoint_every=4, log_every=1)
BY_MUON = replace(SETTINGS, optimiser="muon")


def train_once(folder: Path, name: str, group: Group, *, settings: TrainingSettings = SETTINGS) -> dict[str, torch.Tensor]:
    """Train on the plates in `folder`; state and records go to `folder / name`."""
    torch.set_num_threads(1)
    stores = [CellStore(path) for path in sorted(folder.glob("p*.zarr"))]
    sources = [StoreCells(store, VOCABULARY, np.arange(store.num_cells)) for store in stores]
    collation = replace(COLLATION, micro_cells=5)
    # 9 cells a step: the processes have parts of another size, and another number of micro-batches
    stream = TrainingStream(sources, collation, batch_cells=9, seed=0, rank=group.rank, num_processes=group.size)
    model = make_model(expression_dropout=0.0)
    validation = Validation(sample_cells(sources, 100, seed=0), collation, group)
    train(model, stream, settings, group, folder=folder / name, fingerprint="f", validate=validation)
    return whole_state(model)


def main(folder: Path) -> None:
    for kind in ("ddp", "fsdp"):
        with open_group("cpu", kind=kind) as group:
            assert group.gathered(group.rank) == list(range(group.size))
            assert group.sums(1.0, group.rank) == [group.size, sum(range(group.size))]
            assert group.largest(group.rank) == group.size - 1
            state = train_once(folder, kind, group)
            if group.is_first:
                torch.save(state, folder / f"{kind}.pt")
            else:
                assert kind == "ddp" or not state
            if kind == "ddp":
                state = train_once(folder, "muon", group, settings=BY_MUON)
                if group.is_first:
                    torch.save(state, folder / "muon.pt")
            group.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
