"""Embedding with TX1: cells per second of the model, of the tokeniser alone, and how much is gained over a plain padded implementation.

    python benchmarks/embedding.py [--cells 8] [--turns 3] [--output benchmarks/results/embedding.json]
    python benchmarks/embedding.py --device cuda --sizes 70m 3b --cells 4096 --output benchmarks/results/embedding_gpu.json

Weights are random; cells have 200 to 2,000 genes, evenly, in random order. The peer has the same weights and the same attention call
(`scaled_dot_product_attention`), takes cells in the order of the input, as many at a time as the published tool (8; 64 on a GPU), and pads them to
the longest with a mask; embeddings of both are compared. The two are measured in turns, so that a busy machine slows both; ratios are within a turn.
On a CPU, processor seconds are given besides, and one cell at a time, which needs no pads, is a third way.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from causcade.files import write_json
from causcade.tx1 import PRESETS, Checkpoint, CollatorSettings, EmbedSettings, Tx1, Vocabulary, collate, embed_counts
from causcade.tx1.shape import forward_flops

SEED = 0
NUM_GENES = 30_000
LENGTHS = (200, 2000)
TOKEN_GENES = 1000
TOKEN_CELLS = 4096
TOKEN_BATCH = 256
LOOP_CELLS = 200
TOLERANCE = {"cpu": 1e-4, "cuda": 0.05}
PEAK_SIZE = 8192


def draw_cells(lengths: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
    """Draw counts of cells with given numbers of genes."""
    columns = [np.sort(rng.choice(NUM_GENES, length, replace=False)) for length in lengths]
    counts = np.ceil(rng.lognormal(0.3, 1.0, int(lengths.sum()))).astype(np.float32)
    return sp.csr_matrix((counts, np.concatenate(columns), np.concatenate([[0], np.cumsum(lengths)])), shape=(len(lengths), NUM_GENES))


def random_checkpoint(size: str, device: str) -> Checkpoint:
    """Make a model of a published shape with random weights, without drugs."""
    vocabulary = Vocabulary.from_genes(f"ENSG{number:011d}" for number in range(PRESETS[size].vocab_size - 100))
    shape = replace(PRESETS[size], drugs=None)
    with torch.device(device):
        model = Tx1(shape).eval()
    return Checkpoint(model=model, shape=shape, collator=CollatorSettings(), vocabulary=vocabulary, drug_ids=None, name=size)


@torch.inference_mode()
def embed_padded(checkpoint: Checkpoint, counts: sp.csr_matrix, gene_ids: list[str], num_cells: int) -> np.ndarray:
    """Embed as one would write it down: batches in the order of the input, padded to the longest cell, with a mask."""
    network, shape = checkpoint.model.model, checkpoint.shape
    device = network.flag_encoder.weight.device
    tokens, parts = checkpoint.vocabulary.columns(gene_ids), []
    for start in range(0, counts.shape[0], num_cells):
        batch = collate(counts[start : start + num_cells], tokens, CollatorSettings(max_length=2048)).batch
        gene_BL, value_BL, is_real_BL = (tensor.to(device) for tensor in batch[:3])
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            x_BLD = network.gene_encoder(gene_BL) + network.expression_encoder(value_BL.flatten()).view(*gene_BL.shape, -1)
            for layer in network.transformer_encoder.layers:
                q, k, v = layer.self_attn.Wqkv(layer.norm1(x_BLD)).chunk(3, dim=-1)
                q, k, v = (part.unflatten(-1, (shape.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
                attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=is_real_BL[:, None, None, :])
                x_BLD = x_BLD + layer.self_attn.out_proj(attended.transpose(1, 2).flatten(2))
                x_BLD = x_BLD + layer.down_proj(layer.activation(layer.up_proj(layer.norm2(x_BLD))))
            cell_BD = network.transformer_encoder.norm(x_BLD)[:, 0].float()
        parts.append((cell_BD / cell_BD.norm(dim=1, keepdim=True)).cpu().numpy())
    return np.concatenate(parts)


def seconds_of(action: Callable[[], Any], device: str) -> tuple[float, float, Any]:
    """Seconds and processor seconds of one call, and what it gave."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    start, used = time.perf_counter(), time.process_time()
    found = action()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - used, found


def compare(size: str, num_cells: int, turns: int, *, device: str, batch_tokens: int | None, compiled: bool) -> dict[str, Any]:
    """Cells per second of both implementations, in turns."""
    rng = np.random.default_rng(SEED)
    lengths = rng.permutation(np.linspace(*LENGTHS, num_cells).astype(np.int64))
    counts = draw_cells(lengths, rng)
    checkpoint = random_checkpoint(size, device)
    gene_ids = [f"ENSG{number:011d}" for number in range(NUM_GENES)]
    settings = EmbedSettings(batch_tokens=batch_tokens, min_covered=0.0, compile=compiled)
    padded_cells = 64 if device.startswith("cuda") else 8
    ways: dict[str, Callable[[], np.ndarray]] = {
        "causcade": lambda: embed_counts(checkpoint, counts, gene_ids, settings=settings).z_ND,
        "padded": partial(embed_padded, checkpoint, counts, gene_ids, padded_cells),
    }
    if not device.startswith("cuda"):
        ways["one cell at a time"] = partial(embed_padded, checkpoint, counts, gene_ids, 1)
    few = counts[:padded_cells]
    if device.startswith("cuda"):  # compiles, and finds its kernels
        embed_counts(checkpoint, counts, gene_ids, settings=settings)
        embed_padded(checkpoint, few, gene_ids, padded_cells)
    else:
        embed_counts(checkpoint, few[:1], gene_ids, settings=settings)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    worst = 0.0
    for _ in range(turns):
        reference = None
        for name, way in ways.items():
            elapsed, used, z = seconds_of(way, device)
            taken[name].append(elapsed)
            processor[name].append(used)
            reference = z if reference is None else reference
            worst = max(worst, float(np.abs(z - reference).max()))
        print({name: f"{num_cells / times[-1]:.2f} cells/s" for name, times in taken.items()}, flush=True)
    if worst > TOLERANCE[device.split(":")[0]]:
        raise SystemExit(f"the implementations disagree by {worst:.1e}: nothing is measured")
    ratios = [padded / ours for padded, ours in zip(taken["padded"], taken["causcade"], strict=True)]
    best = float(np.median(taken["causcade"]))
    flops = forward_flops(checkpoint.shape, (lengths + 1).tolist(), only_cells=True)
    return {
        "size": size,
        "cells": num_cells,
        "mean_genes": float(lengths.mean()),
        "turns": turns,
        "padded_cells": padded_cells,
        "cells_per_s": {name: num_cells / float(np.median(times)) for name, times in taken.items()},
        "tokens_per_s": float((lengths + 1).sum()) / best,
        "flops_per_s": flops / best,
        "ratio": float(np.median(ratios)),
        "ratio_range": [min(ratios), max(ratios)],
        "processor_s": {name: float(np.median(times)) for name, times in processor.items()},
        "max_difference": worst,
        "compiled": compiled,
    }


def tokenise_all(counts: sp.csr_matrix, tokens: np.ndarray, settings: CollatorSettings) -> float:
    """Cells per processor second of the tokeniser, best of three."""
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        for first in range(0, counts.shape[0], TOKEN_BATCH):
            collate(counts[first : first + TOKEN_BATCH], tokens, settings)
        best = min(best, time.process_time() - start)
    return counts.shape[0] / best


def tokenise_in_a_loop(counts: sp.csr_matrix, tokens: np.ndarray) -> float:
    """Cells per processor second of a loop over cells with `torch.quantile` and `torch.bucketize`, best of three."""
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        for cell in range(LOOP_CELLS):
            part = slice(counts.indptr[cell], counts.indptr[cell + 1])
            gene = torch.from_numpy(tokens[counts.indices[part]])
            value = torch.from_numpy(counts.data[part])[gene >= 0]
            torch.bucketize(value, torch.quantile(value, torch.linspace(0, 1, 50))) + 1
        best = min(best, time.process_time() - start)
    return LOOP_CELLS / best


def measure_tokeniser() -> dict[str, float]:
    """Cells per processor second of the tokeniser, cells of 1,000 genes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    counts = draw_cells(np.full(TOKEN_CELLS, TOKEN_GENES), rng)
    tokens = rng.permutation(NUM_GENES).astype(np.int64) + 3
    transformed = counts.copy()
    transformed.data = np.log1p(transformed.data * np.float32(1.7))
    rates = {
        "raw counts": tokenise_all(counts, tokens, CollatorSettings(max_length=2048)),
        "raw counts, 512 genes sampled": tokenise_all(counts, tokens, CollatorSettings(max_length=513)),
        "log-normalised": tokenise_all(transformed, tokens, CollatorSettings(max_length=2048)),
        "loop over cells with torch": tokenise_in_a_loop(counts, tokens),
    }
    torch.set_num_threads(threads)
    return rates


def measured_peak(device: str) -> float:
    """Floating-point operations per second of a large square product in bfloat16."""
    left = torch.rand((PEAK_SIZE, PEAK_SIZE), device=device, dtype=torch.bfloat16)
    best = 0.0
    for _ in range(10):
        elapsed, _, _ = seconds_of(lambda: left @ left, device)
        best = max(best, 2 * PEAK_SIZE**3 / elapsed)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/embedding.json"))
    parser.add_argument("--sizes", nargs="+", default=["70m"], choices=sorted(PRESETS))
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokeniser = measure_tokeniser()
    print({name: f"{rate:,.0f} cells/s" for name, rate in tokeniser.items()}, flush=True)
    compared = [
        compare(size, arguments.cells, arguments.turns, device=arguments.device, batch_tokens=arguments.batch_tokens, compiled=arguments.compile)
        for size in arguments.sizes
    ]
    device = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "cpu"
    is_cuda = arguments.device.startswith("cuda")
    facts: dict[str, Any] = {"device": device, "threads": arguments.threads, "torch": torch.__version__}
    if is_cuda:
        facts["peak_flops_per_s"] = measured_peak(arguments.device)
    for found in compared:
        print(f"{found['size']}: {found['cells_per_s']['causcade']:.2f} cells/s, {found['ratio']:.2f} times padded")
        if is_cuda:
            print(f"{found['flops_per_s'] / facts['peak_flops_per_s']:.1%} of the measured peak")
    write_json(arguments.output, {"facts": facts, "tokeniser": tokeniser, "compared": compared})


if __name__ == "__main__":
    main()
