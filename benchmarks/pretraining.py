"""Training of TX1: the stream alone, tokens/s and FLOP utilisation of a training step, and the time to save its state.

    python benchmarks/pretraining.py [--size small] [--cells 8192] [--genes 1024] [--steps 20] [--batch 256] [--micro-tokens 65536]
        [--compile] [--recompute] [--parallel ddp] [--output benchmarks/results/pretraining.json]

    torchrun --nproc-per-node 8 benchmarks/pretraining.py --size 1.3b --parallel fsdp

Cells express `--genes` random genes out of 20,000 and are read from a cell store, which is written first; the time of a step includes waiting for the
stream. Weights are random. Utilisation is three forward passes over the dense bfloat16 peak of the device, where it is known. The first steps, in
which kernels are chosen and compiled, are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.cells import CellStore, write_store
from causcade.files import write_json
from causcade.tx1.model import Tx1
from causcade.tx1.parallel import Group, open_group
from causcade.tx1.shape import PRESETS, CollatorSettings, ModelShape
from causcade.tx1.sources import StoreCells
from causcade.tx1.stream import Collation, TrainingStream
from causcade.tx1.trainer import TrainingSettings, train
from causcade.tx1.training_log import read_records
from causcade.tx1.vocabulary import Vocabulary

NUM_GENES = 20_000
SMALL = ModelShape(vocab_size=0, d_model=64, num_layers=2, num_heads=4)
BLOCK = 1024


def write_cells(path: Path, num_cells: int, num_expressed: int) -> CellStore:
    """Write a plate of random counts."""
    rng = np.random.default_rng(0)
    genes = pd.Index([f"ENSG{number:011d}" for number in range(NUM_GENES)], name="gene_id")
    columns = np.sort(np.stack([rng.choice(NUM_GENES, num_expressed, replace=False) for _ in range(BLOCK)]), axis=1)

    def blocks():
        for start in range(0, num_cells, BLOCK):
            num = min(BLOCK, num_cells - start)
            counts = rng.geometric(0.4, num * num_expressed)
            indptr = np.arange(num + 1) * num_expressed
            yield sp.csr_matrix((counts, rng.permutation(columns)[:num].ravel(), indptr), shape=(num, NUM_GENES))

    obs = pd.DataFrame(
        {"perturbation": "control", "plate": "p1", "well": "w1", "is_control": True, "total_counts": 0.0, "num_genes": num_expressed},
        index=pd.Index([f"c{number}" for number in range(num_cells)], name="cell"),
    )
    write_store(path, obs, pd.DataFrame({"gene": genes}, index=genes), blocks(), num_nonzero=num_cells * num_expressed, largest=65_535)
    return CellStore(path)


def measure_stream(stream: TrainingStream, num_steps: int) -> dict[str, float]:
    """Cells and tokens per second that one process reads, collates and masks."""
    batches = stream.steps(0, num_steps + 1)
    next(batches)  # reads the first window
    started, num_cells, num_tokens = time.perf_counter(), 0, 0
    for batch in batches:
        num_cells, num_tokens = num_cells + batch.num_cells, num_tokens + batch.num_tokens
    seconds = time.perf_counter() - started
    return {"stream_cells_per_s": num_cells / seconds, "stream_tokens_per_s": num_tokens / seconds}


def measure_training(stream: TrainingStream, shape: ModelShape, group: Group, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median rates over the records of a training."""
    torch.manual_seed(0)
    with torch.device(group.device):
        model = Tx1(shape)
    every = max(1, arguments.steps // 5)
    settings = TrainingSettings(
        steps=arguments.steps, learning_rate=1e-4, log_every=every, checkpoint_every=10**9, compile=arguments.compile, recompute=arguments.recompute
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(group.gathered(name)[0])
        train(model, stream, settings, group, folder=folder, fingerprint="benchmark")
        records = read_records(folder / "metrics.jsonl")[1:] if group.is_first else []
        size = sum(path.stat().st_size for path in (folder / "state").iterdir())
        group.wait()
    found = {
        key: float(np.median([record[key] for record in records]))
        for key in ("cells_per_s", "tokens_per_s", "flop_utilisation")
        if records and key in records[0]
    }
    if group.device.type == "cuda":
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found | {"state_gb": size / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["small", *PRESETS], default="small")
    for name, value in (("cells", 8192), ("genes", 1024), ("steps", 20), ("batch", 256), ("micro-tokens", 65_536), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name in ("compile", "recompute"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--parallel", choices=["ddp", "fsdp"], default="ddp")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with open_group(kind=arguments.parallel) as group, tempfile.TemporaryDirectory() as folder:
        store = write_cells(Path(folder) / "p1.zarr", arguments.cells, arguments.genes)
        vocabulary = Vocabulary.from_genes(store.var.index)
        collation = Collation(settings=CollatorSettings(max_length=arguments.genes + 1), micro_tokens=arguments.micro_tokens)
        source = StoreCells(store, vocabulary, np.arange(store.num_cells))
        stream = TrainingStream([source], collation, batch_cells=arguments.batch, seed=0, rank=group.rank, num_processes=group.size)
        shape = replace(SMALL if arguments.size == "small" else PRESETS[arguments.size], vocab_size=vocabulary.size, drugs=None)
        about = {key: value for key, value in vars(arguments).items() if key != "output"}
        device = torch.cuda.get_device_name() if group.device.type == "cuda" else platform.processor() or platform.machine()
        found = measure_stream(stream, min(arguments.steps, 20)) | measure_training(stream, shape, group, arguments)
        result = about | {"processes": group.size, "device": device, "torch": torch.__version__} | found
        if group.is_first:
            print(json.dumps(result, indent=2))
            if arguments.output is not None:
                write_json(arguments.output, result)


if __name__ == "__main__":
    main()
