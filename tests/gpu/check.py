"""Every path that computes on a GPU, on small data, against the same path on the CPU: a table of differences and rates.

    python tests/gpu/check.py [--output TABLE.md]        on a machine with a GPU
    python tests/gpu/check.py --device cpu               tries the script itself: both sides run on the CPU

It runs from a plain checkout, without installing causcade and without a network. A path whose packages are missing is told as `not installed: NAME`;
torch, numpy, pandas, scipy, scikit-learn, numba and threadpoolctl are enough for the sums of products and for TX1, pydantic beside them for the
fits, and RAPIDS (envs/gpu.yaml) for the rest. The exit status is 1 if a comparison fails, 2 if there is no GPU.

A difference is relative to the largest value of the CPU unless its row says otherwise. Rates are those of this small data: a GPU is hardly filled by
it, and they are no rates of causcade (benchmarks/ has those).

Axes: N cells, G genes, D dimensions, T tokens, H heads.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

OK, FAILED, NO_GPU = "ok", "FAILED", "no GPU"
SEED = 0
LONG_S = 5.0


class Outcome(NamedTuple):
    """Largest difference, what it may be, and how much of `unit` a second the CPU and the device did (0: not measured)."""

    difference: float
    tolerance: float
    cpu_rate: float = 0.0
    device_rate: float = 0.0
    unit: str = ""


class Row(NamedTuple):
    """A line of the table."""

    path: str
    status: str
    outcome: Outcome | None = None
    note: str = ""


class Place(NamedTuple):
    """Where to compute: a torch device, and whether the data is as small as a test wants it."""

    device: str
    is_small: bool

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device.startswith("cuda")

    @property
    def backend(self) -> str:
        """Setting `backend` of causcade."""
        return "gpu" if self.is_gpu else "cpu"

    def size(self, small: int, whole: int) -> int:
        """Choose a size."""
        return small if self.is_small else whole


class Skipped(Exception):
    """A path that cannot run here; the text says why."""


def needed(*names: str) -> None:
    """Stop where a package is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise Skipped(f"not installed: {name}")


def without_its_init(package: str) -> None:
    """Where pydantic is missing, let the modules of a package of causcade be imported without what the package itself imports."""
    if importlib.util.find_spec("pydantic") is None and f"causcade.{package}" not in sys.modules:
        module = types.ModuleType(f"causcade.{package}")
        module.__path__ = [str(ROOT / "src/causcade" / package)]
        sys.modules[f"causcade.{package}"] = module


def seconds_of(work: Callable[[], Any], place: Place | None, *, turns: int = 3) -> tuple[float, Any]:
    """Least seconds of some calls after a first one that is not counted, and what the last gave; `place` None: on the CPU.

    With `turns` 0 a first call of more than a few seconds counts, and is the only one.
    """
    import torch

    def finished() -> float:
        if place is not None and place.is_gpu:
            torch.cuda.synchronize(place.device)
        return time.perf_counter()

    started = finished()
    found = work()
    first = finished() - started
    if turns == 0 and first > LONG_S:
        return first, found
    best = float("inf")
    for _ in range(1 if place is None or place.is_small else max(1, turns)):
        started = finished()
        found = work()
        best = min(best, finished() - started)
    return best, found


def relative(found: Any, expected: Any) -> float:
    """Largest difference over the largest expected value; infinity where a value is not finite or a shape differs."""
    import numpy as np

    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max(initial=0.0) / max(1e-300, np.abs(expected).max(initial=0.0)))


def draw_counts(num_cells: int, num_genes: int, density: float) -> Any:
    """Counts of cells in which genes share factors, CSR float32 [N, G]."""
    import numpy as np
    import scipy.sparse as sp

    rng = np.random.default_rng(SEED)
    rate_G = rng.lognormal(np.log(density), 1.0, num_genes)
    rate_NG = rate_G * np.exp(0.5 * rng.normal(size=(num_cells, 4)) @ rng.normal(size=(4, num_genes)))
    counts = sp.csr_matrix(rng.poisson(rate_NG).astype(np.float32))
    counts.sort_indices()
    return counts


def log_normalised(counts: Any) -> Any:
    """Log(1 + counts per 10,000) [N, G], float32."""
    import numpy as np
    import scipy.sparse as sp

    total_N = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    x_E = np.log1p(counts.data * np.repeat(1e4 / total_N, np.diff(counts.indptr)))
    return sp.csr_matrix((x_E.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


# Sums of products ----------------------------------------------------------------------------------------------------------------------------------

BOUNDS = {"float32": 1e-6, "fp16_split": 1e-5, "tf32": 3e-4, "fp16": 3e-4}
"""What the error of a correlation may be (docs of `coexpression.precision`)."""


def sums_of_products(place: Place, precision: str) -> Outcome:
    """X'X of log-normalised counts; compared are the correlations of the first genes, against float64 (an absolute difference)."""
    needed("numba", "threadpoolctl")
    without_its_init("coexpression")
    import numpy as np
    import scipy.sparse as sp

    from causcade.coexpression.dense import DenseGram
    from causcade.coexpression.kernels import KERNEL_CELLS, HybridGram
    from causcade.coexpression.packed import packed_rows

    num_genes, num_checked = place.size(150, 4000), place.size(150, 512)
    x_NG = log_normalised(draw_counts(place.size(500, 32_768), num_genes, 0.066))
    starts = range(0, x_NG.shape[0], KERNEL_CELLS)
    rounding = DenseGram(num_genes, device=place.device, precision=precision)  # type: ignore[arg-type]
    blocks = [rounding.rounded(x_NG[start : start + KERNEL_CELLS]) for start in starts]

    def on_device() -> np.ndarray:
        gram = DenseGram(num_genes, device=place.device, precision=precision)  # type: ignore[arg-type]
        for block in blocks:
            gram.add(block)
        return gram.finish()

    def on_cpu() -> np.ndarray:
        gram = HybridGram(x_NG.getnnz(axis=0) / x_NG.shape[0], num_threads=os.cpu_count() or 1)
        for start in starts:
            gram.add(x_NG[start : start + KERNEL_CELLS])
        return gram.finish()

    cpu_s, _ = seconds_of(on_cpu, None)
    device_s, sums = seconds_of(on_device, place)
    upper = packed_rows(sums, num_genes, 0, num_checked)[:, :num_checked]
    whole = sp.vstack(blocks)[:, :num_checked].astype(np.float64)
    exact = x_NG[:, :num_checked].astype(np.float64)

    def correlate(sums_GG: np.ndarray, mean_G: np.ndarray) -> np.ndarray:
        covariance = sums_GG / x_NG.shape[0] - np.outer(mean_G, mean_G)
        sd_G = np.sqrt(np.diag(covariance))
        return covariance / np.outer(sd_G, sd_G)

    means = [np.asarray(part.mean(axis=0)).ravel() for part in (whole, exact)]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = correlate(np.triu(upper) + np.triu(upper, 1).T, means[0])
        expected = correlate((exact.T @ exact).toarray(), means[1])
    varies = np.isfinite(expected)
    difference = np.abs(found - expected)[varies]
    worst = float(difference.max()) if np.isfinite(difference).all() else float("inf")
    return Outcome(worst, BOUNDS[precision], x_NG.shape[0] / cpu_s, x_NG.shape[0] / device_s, "cells")


def coexpression(place: Place) -> Outcome:
    """Residual correlations of three small plates, from their cell stores through blocks and covariates (an absolute difference)."""
    needed("pydantic", "anndata", "zarr", "numba", "threadpoolctl")
    import numpy as np

    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from coexpression_cases import make_plates, measure
    finally:
        sys.path.pop(0)
    from causcade.coexpression import add_moments, residual_correlation

    with tempfile.TemporaryDirectory() as folder:
        stores = make_plates(Path(folder))
        cpu_s, expected = seconds_of(lambda: add_moments([measure(store, backend="cpu") for store in stores]), None)
        device_s, found = seconds_of(lambda: add_moments([measure(store, backend=place.backend) for store in stores]), place)
    correlations = [residual_correlation(moments).correlation_GG for moments in (found, expected)]
    number = expected.num_cells
    return Outcome(float(np.abs(np.subtract(*correlations)).max()), 1e-5, number / cpu_s, number / device_s, "cells")


# TX1 -----------------------------------------------------------------------------------------------------------------------------------------------


def draw_tokens(lengths: list[int], vocab_size: int, *, masked: float = 0.0) -> Any:
    """Cells of given lengths as a batch of tokens, padded to the longest."""
    import numpy as np
    import torch

    from causcade.tx1.batch import TokenBatch

    rng, shape = np.random.default_rng(SEED), (len(lengths), max(lengths))
    gene, value = np.zeros(shape, dtype=np.int64), np.full(shape, -2.0, dtype=np.float32)
    is_real, is_masked = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for cell, length in enumerate(lengths):
        gene[cell, 0] = 1
        gene[cell, 1:length] = rng.choice(np.arange(3, vocab_size - 1), length - 1, replace=length > vocab_size // 2)
        value[cell, 1:length] = rng.integers(1, 51, length - 1)
        is_real[cell, :length] = True
        is_masked[cell, 1:length] = rng.random(length - 1) < masked
    return TokenBatch(*(torch.from_numpy(part) for part in (gene, value, is_real)), torch.from_numpy(is_masked) if masked else None, None)


def attention(place: Place, lengths: list[int], dtype_name: str) -> Outcome:
    """Packed attention for heads of 64 and 128 dimensions, of all tokens and of the first of each cell; the worst of the four, the rate of the first.

    Cells of mixed lengths take `varlen_attn` in half precision on a GPU.
    """
    lengths = [length // 4 + 1 for length in lengths] if place.is_small else lengths
    found = [_attention(place, lengths, dtype_name, size, only_first=first) for size in (64, 128) for first in (False, True)]
    return found[0]._replace(difference=max(outcome.difference for outcome in found))


def _attention(place: Place, lengths: list[int], dtype_name: str, head_size: int, *, only_first: bool) -> Outcome:
    """Outputs and gradients against float64 on the CPU."""
    import torch

    from causcade.tx1.attention import attend, lay_out

    dtype = getattr(torch, dtype_name)
    batch = draw_tokens(lengths, 4000)
    parts = torch.randn(3, sum(lengths), 4, head_size, generator=torch.Generator().manual_seed(SEED)).to(dtype)
    results = {}
    for side, device, values in (("cpu", "cpu", parts.double()), ("device", place.device, parts.to(place.device))):
        layout = lay_out(batch.to(device))

        def work(values: Any = values, layout: Any = layout) -> tuple[Any, Any]:
            leaf = values.detach().clone().requires_grad_()
            q, k, v = leaf
            out = attend(q[layout.first_B] if only_first else q, k, v, layout)
            out.square().sum().backward()
            return out.detach(), leaf.grad

        results[side] = seconds_of(work, place if side == "device" else None)
    (cpu_s, expected), (device_s, found) = results["cpu"], results["device"]
    worst = max(relative(ours.double().cpu(), theirs) for ours, theirs in zip(found, expected, strict=True))
    return Outcome(worst, 2e-2 if dtype_name == "bfloat16" else 1e-4, sum(lengths) / cpu_s, sum(lengths) / device_s, "tokens")


def new_model(place: Place, vocab_size: int, *, size: str = "70m", num_layers: int | None = None) -> Any:
    """A model with random weights and without dropout: of a published shape without drugs, or a tiny one."""
    from dataclasses import replace

    from causcade.tx1.model import Tx1
    from causcade.tx1.shape import PRESETS, ModelShape

    tiny = ModelShape(vocab_size=vocab_size, d_model=32, num_layers=2, num_heads=2, expression_dropout=0.0, standard_scale_outputs=True)
    whole = replace(PRESETS[size], drugs=None, vocab_size=vocab_size, expression_dropout=0.0, standard_scale_outputs=True)
    shape = tiny if place.is_small else whole
    return Tx1(shape if num_layers is None else replace(shape, num_layers=num_layers), seed=SEED)


def gradients(place: Place, *, size: str = "70m", compiled: bool = False) -> Outcome:
    """A forward and backward pass in bfloat16 on the device, against float32 on the CPU: one less the least cosine between gradients."""
    import torch
    from torch.nn.functional import cosine_similarity

    lengths = [40, 90, 60, 90] if place.is_small else [40, 300, 700, 300, 1024, 512]
    batch = draw_tokens(lengths, 2000, masked=0.5)
    copies = {side: new_model(place, 2000, size=size, num_layers=2) for side in ("cpu", "device")}
    copies["device"].to(place.device)
    if compiled:
        copies["device"].compile_layers()
    found = {}
    for side, copy in copies.items():
        device = place.device if side == "device" else "cpu"
        tokens = batch.to(device)

        def work(copy: Any = copy, tokens: Any = tokens, *, half: bool = side == "device" and place.is_gpu, kind: str = device) -> dict[str, Any]:
            copy.zero_grad()
            with torch.autocast(kind.split(":")[0], torch.bfloat16, enabled=half):
                out = copy(tokens, decode=True)
                (out.expression_BL.float().square().mean() + out.product_BL.float().square().mean()).backward()
            return {name: value.grad.detach().float().cpu() for name, value in copy.named_parameters() if value.grad is not None}

        found[side] = seconds_of(work, place) if side == "device" else seconds_of(work, None, turns=0)
    (cpu_s, expected), (device_s, ours) = found["cpu"], found["device"]
    cosines = [float(cosine_similarity(ours[name].flatten(), value.flatten(), dim=0)) for name, value in expected.items() if value.any()]
    return Outcome(1.0 - min(cosines), 1e-2 if place.is_gpu else 1e-5, sum(lengths) / cpu_s, sum(lengths) / device_s, "tokens")


def embedding(place: Place, precision: str) -> Outcome:
    """Tokens and embedding of cells of mixed lengths: one less the least cosine to the CPU in float32."""
    needed("safetensors", "yaml")
    import numpy as np

    from causcade.tx1 import Checkpoint, CollatorSettings, EmbedSettings, Vocabulary, embed_counts

    ids = [f"ENSG{number:011d}" for number in range(place.size(300, 8000))]
    counts = draw_counts(place.size(24, 256), len(ids), 0.05)
    vocabulary = Vocabulary.from_genes(ids)
    found = {}
    for side, device, way in (("cpu", "cpu", "float32"), ("device", place.device, precision)):
        model = new_model(place, vocabulary.size).eval().to(device)
        checkpoint = Checkpoint(model=model, shape=model.shape, collator=CollatorSettings(), vocabulary=vocabulary, drug_ids=None, name="check")
        settings = EmbedSettings(precision=way, min_covered=0.0)  # type: ignore[arg-type]

        def work(checkpoint: Any = checkpoint, settings: Any = settings) -> np.ndarray:
            return embed_counts(checkpoint, counts, ids, settings=settings).z_ND

        found[side] = seconds_of(work, place) if side == "device" else seconds_of(work, None, turns=0)
    (cpu_s, expected), (device_s, ours) = found["cpu"], found["device"]
    cosine = (ours * expected).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    number = counts.shape[0]
    return Outcome(1.0 - float(cosine.min()), 1e-2 if precision == "bfloat16" else 1e-5, number / cpu_s, number / device_s, "cells")


class MemoryCells:
    """Cells in memory, to train on."""

    def __init__(self, counts: Any) -> None:
        import numpy as np

        from causcade.tx1.seeds import hashed, name_key

        self.name, self.num_cells, self._counts = "p1", counts.shape[0], counts
        self._key_N = hashed(name_key("cell", self.name), np.arange(counts.shape[0]))

    def read(self, start: int, stop: int) -> Any:
        """Read the cells of a range."""
        from causcade.tx1.sources import Cells

        return Cells(self._counts[start:stop], self._key_N[start:stop], None)


def train_steps(place: Place, group: Any, folder: Path, precision: str) -> tuple[list[float], float, int]:
    """Loss of each step of a short training, its seconds without the first steps, and the cells of a second."""
    from causcade.tx1.shape import CollatorSettings
    from causcade.tx1.stream import Collation, TrainingStream
    from causcade.tx1.trainer import TrainingSettings, train
    from causcade.tx1.vocabulary import Vocabulary

    num_genes, batch_cells = place.size(40, 2000), place.size(8, 64)
    vocabulary = Vocabulary.from_genes([f"ENSG{number:011d}" for number in range(num_genes)])
    counts = draw_counts(place.size(32, 1024), num_genes, 0.3)
    import scipy.sparse as sp

    shifted = sp.csr_matrix((counts.data, counts.indices + int(vocabulary.columns([f"ENSG{0:011d}"])[0]), counts.indptr))
    shifted.resize(counts.shape[0], vocabulary.size)
    model = new_model(place, vocabulary.size, num_layers=2).to(group.device)
    settings = TrainingSettings(
        steps=place.size(6, 30), learning_rate=1e-3, checkpoint_every=1000, log_every=1, precision=precision  # type: ignore[arg-type]
    )  # fmt: skip
    stream = TrainingStream(
        [MemoryCells(shifted)], Collation(settings=CollatorSettings(max_length=512)), batch_cells=batch_cells, seed=SEED, rank=group.rank,
        num_processes=group.size,
    )  # fmt: skip
    started = time.perf_counter()
    train(model, stream, settings, group, folder=folder, fingerprint="check")
    seconds = time.perf_counter() - started
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] if group.rank == 0 else []
    return [line["loss"] for line in lines if "loss" in line], seconds, settings.steps * batch_cells


def training(place: Place, precision: str) -> Outcome:
    """Losses of a short pre-training, against the CPU in float32."""
    needed("safetensors", "yaml")
    import torch

    from causcade.tx1.parallel import Group

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for side, device, way in (("cpu", "cpu", "float32"), ("device", place.device, precision)):
            found.append(train_steps(place, Group(0, 1, torch.device(device), "ddp"), Path(folder) / side, way))
    (expected, cpu_s, number), (ours, device_s, _) = found
    return Outcome(relative(ours, expected), 5e-2 if precision == "bfloat16" else 1e-3, number / cpu_s, number / device_s, "cells")


def several_processes(place: Place, kind: str) -> Outcome:
    """The same training by a process on each GPU (two on processors, with `--device cpu`), against one process."""
    needed("safetensors", "yaml")
    import torch

    from causcade.tx1.parallel import Group

    size = torch.cuda.device_count() if place.is_gpu else 2
    if size < 2:
        raise Skipped("one GPU")
    if place.size(8, 64) % size:
        size = 2
    with tempfile.TemporaryDirectory() as folder:
        device = torch.device(place.device)
        expected, one_s, number = train_steps(place, Group(0, 1, device, "ddp"), Path(folder) / "one", "float32")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", __file__, "--worker", folder]
        command += ["--kind", kind, "--device", place.device, *(["--small"] if place.is_small else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        several_s = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["torchrun failed"])[-1])
        ours = json.loads((Path(folder) / "losses.json").read_text())
    return Outcome(relative(ours, expected), 1e-3, number / one_s, number / several_s, "cells (with the start of the processes)")


def work_in_group(arguments: argparse.Namespace) -> None:
    """Take one process's part of :func:`several_processes`."""
    from causcade.tx1.parallel import open_group

    place = Place(arguments.device, arguments.small)
    folder = Path(arguments.worker)
    with open_group(place.backend, kind=arguments.kind) as group:  # type: ignore[arg-type]
        losses, _, _ = train_steps(place, group, folder / "several", "float32")
        if group.rank == 0:
            (folder / "losses.json").write_text(json.dumps(losses))


# Fits ----------------------------------------------------------------------------------------------------------------------------------------------


def basal(place: Place) -> Outcome:
    """The basal decoder: its predictions after a fit, which a GPU makes in bfloat16."""
    needed("pydantic", "pandas")
    import numpy as np
    import torch

    from causcade.basal.cells import ControlCells
    from causcade.basal.training import fit_basal
    from causcade.config import BasalConfig

    num_cells, num_genes, num_dimensions = place.size(120, 8000), place.size(30, 2000), 16
    rng = np.random.default_rng(SEED)
    x_NG = log_normalised(draw_counts(num_cells, num_genes, 0.3))
    z_ND = rng.normal(size=(num_cells, num_dimensions)).astype(np.float32)
    cells = ControlCells(
        z_ND=z_ND, data_E=x_NG.data, column_E=x_NG.indices, indptr=x_NG.indptr.astype(np.int64), well_N=np.arange(num_cells) % 10,
        group_N=np.zeros(num_cells, dtype=np.int64), num_genes=num_genes,
    )  # fmt: skip
    settings = BasalConfig(max_epochs=2, hidden=32)

    def fit(device: str) -> Any:
        decoder = fit_basal(cells, settings, seed=SEED, device=device).decoder
        with torch.no_grad():
            return decoder.cpu()(torch.from_numpy(z_ND[:64])).numpy()

    cpu_s, expected = seconds_of(lambda: fit("cpu"), None, turns=0)
    device_s, found = seconds_of(lambda: fit(place.device), place, turns=1)
    return Outcome(relative(found, expected), 5e-2 if place.is_gpu else 1e-5, 2 * num_cells / cpu_s, 2 * num_cells / device_s, "cells")


def causal(place: Place) -> Outcome:
    """The causal module: weights of edges after some steps without edge dropout."""
    needed("pydantic", "pandas")
    import numpy as np
    import torch

    from causcade.causal.problem import Problem
    from causcade.causal.training import train
    from causcade.config import CausalConfig

    num_genes, num_drugs, partners = place.size(40, 2000), place.size(12, 128), place.size(6, 100)
    rng = np.random.default_rng(SEED)
    target_E = np.repeat(np.arange(num_genes), partners)
    source_E = np.concatenate([np.sort(rng.choice(np.delete(np.arange(num_genes), gene), partners, replace=False)) for gene in range(num_genes)])
    is_target_GD = np.zeros((num_genes, num_drugs), dtype=bool)
    hit_D = rng.choice(num_genes, num_drugs, replace=False)
    is_target_GD[hit_D, np.arange(num_drugs)] = True
    effect_GD = rng.normal(0, 0.2, (num_genes, num_drugs)).astype(np.float32)
    effect_GD[is_target_GD] -= 1.0
    gene_S, drug_S = np.nonzero(is_target_GD)
    ones_S = np.ones(len(gene_S), dtype=np.float32)
    problem = Problem(
        effect_GD=effect_GD, se_GD=np.full_like(effect_GD, 0.1), is_target_GD=is_target_GD, is_hidden_GD=np.zeros_like(is_target_GD),
        weight_D=np.ones(num_drugs, dtype=np.float32), strength_DF=np.zeros((num_drugs, 1), dtype=np.float32), support_gene_S=gene_S,
        support_drug_S=drug_S, anchor_S=-ones_S, anchor_precision_S=ones_S, start_S=-ones_S, support_is_target_S=ones_S.astype(bool),
        typical_effect=1.0, target_E=target_E, source_E=source_E, confidence_E=np.zeros(len(target_E), dtype=np.float32),
        candidate_place_C=np.arange(len(target_E)), perturbations=[f"d{drug}" for drug in range(num_drugs)],
    )  # fmt: skip
    settings = CausalConfig(num_steps=place.size(6, 60), edge_dropout=0.0, l1_start=3)

    def fit(device: str) -> Any:
        return train(problem, num_genes, settings, seed=SEED, device=torch.device(device)).value_E.cpu().numpy()

    cpu_s, expected = seconds_of(lambda: fit("cpu"), None, turns=0)
    device_s, found = seconds_of(lambda: fit(place.device), place, turns=1)
    return Outcome(relative(found, expected), 2e-2, settings.num_steps / cpu_s, settings.num_steps / device_s, "steps")


def latent(place: Place) -> Outcome:
    """The latent-activity estimator: its posterior means of W."""
    needed("pydantic", "pandas")
    import numpy as np

    from causcade.config_latent import LatentConfig
    from causcade.latent.estimate import estimate

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from latent_cost import draw_problem
    finally:
        sys.path.pop(0)
    problem = draw_problem(place.size(24, 1024), place.size(12, 128), place.size(6, 64))
    settings = LatentConfig()

    def fit(device: str) -> np.ndarray:
        return estimate(problem, settings, devices=[device]).edge_GJ

    cpu_s, expected = seconds_of(lambda: fit("cpu"), None, turns=0)
    device_s, found = seconds_of(lambda: fit(place.device), place, turns=1)
    return Outcome(relative(found, expected), 1e-4, 1 / cpu_s, 1 / device_s, "fits")


def ranking(place: Place) -> Outcome:
    """AUROC with ties by causcade, which computes it on the CPU, against cuML (scikit-learn with `--device cpu`); an absolute difference."""
    needed("pandas", *(["cuml"] if place.is_gpu else ["sklearn"]))
    without_its_init("evaluation")
    import numpy as np

    from causcade.evaluation.metrics import auroc, tie_runs

    rng = np.random.default_rng(SEED)
    number = place.size(2000, 1_400_000)
    score_E = np.round(rng.normal(size=number), 2).astype(np.float32)
    is_positive_E = rng.random(number) < 1 / (1 + np.exp(3 - score_E))
    by = importlib.import_module("cuml.metrics" if place.is_gpu else "sklearn.metrics").roc_auc_score

    def ours() -> float | None:
        order_E = np.argsort(-score_E, kind="stable")
        level_E = np.unique(-score_E[order_E], return_inverse=True)[1]
        return auroc(tie_runs(level_E, is_positive_E[order_E]))

    cpu_s, expected = seconds_of(ours, None)
    device_s, found = seconds_of(lambda: float(by(is_positive_E.astype(np.int32), score_E)), place)
    return Outcome(abs(found - (expected or 0.0)), 1e-5, number / cpu_s, number / device_s, "edges")


# RAPIDS --------------------------------------------------------------------------------------------------------------------------------------------


def single_cell(place: Place) -> Any:
    """rapids-singlecell, or scanpy with `--device cpu`."""
    needed("anndata", "scanpy", *(["rapids_singlecell", "cupy"] if place.is_gpu else []))
    return importlib.import_module("rapids_singlecell" if place.is_gpu else "scanpy")


def annotated(place: Place, *, raw: bool) -> tuple[Any, Any]:
    """The same cells twice: for the CPU, and where the device has them."""
    import anndata

    counts = draw_counts(place.size(200, 20_000), place.size(150, 3000), 0.2)
    data = anndata.AnnData(counts if raw else log_normalised(counts))
    data.var["mito"] = [number < 13 for number in range(data.n_vars)]
    other = data.copy()
    if place.is_gpu:
        importlib.import_module("rapids_singlecell").get.anndata_to_GPU(other)
    return data, other


def quality(place: Place) -> Outcome:
    """Counts, genes and mitochondrial share of each cell."""
    module = single_cell(place)
    import numpy as np
    import scanpy

    data, other = annotated(place, raw=True)
    options = {} if place.is_gpu else {"percent_top": None, "inplace": True}
    cpu_s, _ = seconds_of(lambda: scanpy.pp.calculate_qc_metrics(data, qc_vars=["mito"], log1p=False, percent_top=None, inplace=True), None)
    device_s, _ = seconds_of(lambda: module.pp.calculate_qc_metrics(other, qc_vars=["mito"], log1p=False, **options), place)
    columns = ["total_counts", "n_genes_by_counts", "total_counts_mito"]
    worst = max(relative(np.asarray(other.obs[name]), np.asarray(data.obs[name])) for name in columns)
    return Outcome(worst, 1e-6, data.n_obs / cpu_s, data.n_obs / device_s, "cells")


def variable_genes(place: Place) -> Outcome:
    """Highly variable genes, flavour seurat: share of the first tenth that differs."""
    module = single_cell(place)
    import numpy as np
    import scanpy

    data, other = annotated(place, raw=False)
    cpu_s, _ = seconds_of(lambda: scanpy.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=data.n_vars // 10), None)
    device_s, _ = seconds_of(lambda: module.pp.highly_variable_genes(other, flavor="seurat", n_top_genes=data.n_vars // 10), place)
    ours, theirs = (set(np.flatnonzero(np.asarray(one.var["highly_variable"]))) for one in (other, data))
    return Outcome(1.0 - len(ours & theirs) / max(1, len(ours | theirs)), 0.05, data.n_obs / cpu_s, data.n_obs / device_s, "cells")


def components(place: Place) -> Outcome:
    """Principal components: explained variances."""
    module = single_cell(place)
    import numpy as np
    import scanpy

    data, other = annotated(place, raw=False)
    options: dict[str, Any] = {"n_comps": 10}
    cpu_s, _ = seconds_of(lambda: scanpy.pp.pca(data, svd_solver="arpack", **options), None)
    device_s, _ = seconds_of(lambda: module.pp.pca(other, **options), place)
    variances = [np.asarray(one.uns["pca"]["variance"]) for one in (other, data)]
    return Outcome(relative(*variances), 1e-3, data.n_obs / cpu_s, data.n_obs / device_s, "cells")


def neighbours(place: Place) -> Outcome:
    """Nearest neighbours and UMAP: share of neighbours that differ; a UMAP is no equal of another and has only to be finite."""
    module = single_cell(place)
    import anndata
    import numpy as np
    import scanpy

    rng = np.random.default_rng(SEED)
    centre = rng.normal(0, 4, (8, 16))
    z_ND = (centre[rng.integers(0, 8, place.size(200, 10_000))] + rng.normal(size=(place.size(200, 10_000), 16))).astype(np.float32)
    data, other = anndata.AnnData(z_ND), anndata.AnnData(z_ND.copy())
    if place.is_gpu:
        module.get.anndata_to_GPU(other)
    cpu_s, _ = seconds_of(lambda: scanpy.pp.neighbors(data, n_neighbors=15, use_rep="X", random_state=SEED), None, turns=1)
    device_s, _ = seconds_of(lambda: module.pp.neighbors(other, n_neighbors=15, use_rep="X", random_state=SEED), place, turns=1)
    near = [np.asarray((one.obsp["distances"] > 0).todense() if place.is_small else one.obsp["distances"].toarray() > 0) for one in (other, data)]
    module.tl.umap(other, random_state=SEED)
    is_finite = bool(np.isfinite(np.asarray(other.obsm["X_umap"])).all())
    shared = (near[0] & near[1]).sum() / max(1, near[1].sum())
    return Outcome(1.0 - float(shared) if is_finite else float("inf"), 0.1, data.n_obs / cpu_s, data.n_obs / device_s, "cells")


def forest(place: Place) -> Outcome:
    """Random forests of cuML (no stage of the workflow uses them): difference of the AUROC on held-out rows to scikit-learn's."""
    needed("sklearn", *(["cuml"] if place.is_gpu else []))
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score

    number = place.size(300, 20_000)
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(2 * number, 12)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=2 * number) > 0).astype(np.int32)
    kinds = [RandomForestClassifier, importlib.import_module("cuml.ensemble").RandomForestClassifier if place.is_gpu else RandomForestClassifier]
    results = []
    for kind, where in zip(kinds, (None, place), strict=True):
        options = {"n_estimators": place.size(10, 100), "max_depth": 8, "random_state": SEED}
        taken, model = seconds_of(lambda kind=kind, options=options: kind(**options).fit(x[:number], y[:number]), where, turns=1)
        results.append((taken, roc_auc_score(y[number:], np.asarray(model.predict_proba(x[number:]))[:, 1])))
    (cpu_s, expected), (device_s, found) = results
    return Outcome(abs(found - expected), 0.02, number / cpu_s, number / device_s, "rows")


def joins(place: Place) -> Outcome:
    """Joins of tables by cuDF (no stage of the workflow uses it) against pandas: share of rows that differ."""
    needed("pandas", *(["cudf"] if place.is_gpu else []))
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(SEED)
    number = place.size(1000, 1_000_000)
    left = pd.DataFrame({"source": rng.integers(0, number // 10, number), "target": rng.integers(0, 500, number), "weight": rng.normal(size=number)})
    right = left[["source", "target"]].drop_duplicates().iloc[::2].assign(confidence=1.0)
    cpu_s, expected = seconds_of(lambda: left.merge(right, on=["source", "target"], how="left"), None)
    if place.is_gpu:
        cudf = importlib.import_module("cudf")
        ours = [cudf.from_pandas(table) for table in (left, right)]
        device_s, joined = seconds_of(lambda: ours[0].merge(ours[1], on=["source", "target"], how="left"), place)
        found = joined.to_pandas()
    else:
        device_s, found = cpu_s, expected
    tables = [table.fillna(0.0).sort_values(list(table.columns)).reset_index(drop=True) for table in (found, expected)]
    differing = float((tables[0] != tables[1]).any(axis=1).mean()) if tables[0].shape == tables[1].shape else float("inf")
    return Outcome(differing, 0.0, number / cpu_s, number / device_s, "rows")


def sparse_blocks(place: Place) -> Outcome:
    """Blocks of counts as cupy holds them for rapids-singlecell: column sums."""
    needed("scipy", *(["cupy"] if place.is_gpu else []))
    import numpy as np

    counts = draw_counts(place.size(200, 20_000), place.size(150, 3000), 0.2)
    cpu_s, expected = seconds_of(lambda: np.asarray(counts.sum(axis=0)).ravel(), None)
    if not place.is_gpu:
        return Outcome(0.0, 0.0, counts.shape[0] / cpu_s, counts.shape[0] / cpu_s, "cells")
    cupy, sparse = importlib.import_module("cupy"), importlib.import_module("cupyx.scipy.sparse")
    block = sparse.csr_matrix(counts)
    device_s, found = seconds_of(lambda: cupy.asnumpy(block.sum(axis=0)).ravel(), place)
    return Outcome(relative(found, expected), 1e-5, counts.shape[0] / cpu_s, counts.shape[0] / device_s, "cells")


MIXED, EQUAL = [500, 37, 1024, 500, 2], [256] * 8
PATHS: dict[str, Callable[[Place], Outcome]] = {
    **{f"sums of products, {precision}": lambda place, precision=precision: sums_of_products(place, precision) for precision in BOUNDS},
    "coexpression of plates": coexpression,
    "attention, mixed lengths, bfloat16": lambda place: attention(place, MIXED, "bfloat16"),
    "attention, mixed lengths, float32": lambda place: attention(place, MIXED, "float32"),
    "attention, equal lengths, bfloat16": lambda place: attention(place, EQUAL, "bfloat16"),
    "TX1, gradients in bfloat16, width of 70M": gradients,
    "TX1, gradients in bfloat16, width of 3B": lambda place: gradients(place, size="3b"),
    "TX1, gradients in bfloat16, compiled": lambda place: gradients(place, compiled=True),
    "tokens and embedding, float32": lambda place: embedding(place, "float32"),
    "tokens and embedding, bfloat16": lambda place: embedding(place, "bfloat16"),
    "pre-training, one process, float32": lambda place: training(place, "float32"),
    "pre-training, one process, bfloat16": lambda place: training(place, "bfloat16"),
    "pre-training, DDP": lambda place: several_processes(place, "ddp"),
    "pre-training, FSDP": lambda place: several_processes(place, "fsdp"),
    "basal decoder": basal,
    "causal module": causal,
    "latent estimator": latent,
    "AUROC": ranking,
    "quality metrics (rapids-singlecell)": quality,
    "highly variable genes (rapids-singlecell)": variable_genes,
    "PCA (rapids-singlecell)": components,
    "neighbours and UMAP (rapids-singlecell, cuML)": neighbours,
    "random forests (cuML)": forest,
    "joins of tables (cuDF)": joins,
    "sparse blocks (cupy)": sparse_blocks,
}
SLOW_TO_TRY = ("TX1, gradients in bfloat16, compiled", "pre-training, DDP", "pre-training, FSDP")
"""Paths that `--device cpu` leaves out unless they are named: a compiler and further processes take minutes on a busy machine."""


def run_path(name: str, place: Place, *, debug: bool = False) -> Row:
    """Run one path; whatever goes wrong in it is its row's status, so that the others run."""
    try:
        outcome = PATHS[name](place)
    except Skipped as reason:
        return Row(name, str(reason))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "causcade":
            return Row(name, FAILED, note=str(error))
        return Row(name, f"not installed: {(error.name or str(error)).split('.')[0]}")
    except Exception as error:  # noqa: BLE001
        if debug:
            traceback.print_exc()
        return Row(name, FAILED, note=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return Row(name, OK if outcome.difference <= outcome.tolerance else FAILED, outcome)


def table(rows: list[Row]) -> list[str]:
    """Write the rows as a table in Markdown."""

    def rate(value: float, unit: str) -> str:
        return f"{value:,.3g} {unit}/s" if value else ""

    lines = ["| path | status | largest difference | tolerance | CPU | device |", "|---|---|---|---|---|---|"]
    for row in rows:
        found = row.outcome
        cells = ["", "", "", ""]
        if found is not None:
            rates = [rate(value, found.unit) for value in (found.cpu_rate, found.device_rate)]
            cells = [f"{found.difference:.1e}", f"{found.tolerance:.0e}", *rates]
        status = row.status + (f" ({row.note})" if row.note else "")
        lines.append("| " + " | ".join([row.path, status.replace("|", "/"), *cells]) + " |")
    return lines


def facts(place: Place) -> str:
    """Say what the table was made on."""
    import torch

    versions = [f"python {platform.python_version()}", f"torch {torch.__version__}"]
    optional = [name for name in ("cupy", "cudf", "cuml", "rapids_singlecell") if importlib.util.find_spec(name) is not None]
    versions += [f"{name} {importlib.import_module(name).__version__}" for name in optional]
    if not place.is_gpu:
        return f"{date.today()}: both sides on the CPU, to try the script; {', '.join(versions)}"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"{date.today()}: {', '.join(names)}, {os.cpu_count()} processors; CUDA {torch.version.cuda}, {', '.join(versions)}"


def main(arguments: list[str] | None = None) -> int:
    """Run the paths and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="torch device; default: cuda")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="paths whose name contains one of these")
    parser.add_argument("--small", action="store_true", help="data as small as with --device cpu")
    parser.add_argument("--output", type=Path, help="file for the table, in Markdown")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a path that fails")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="ddp", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.worker is not None:
        work_in_group(parsed)
        return 0
    place = Place(parsed.device, parsed.small or not parsed.device.startswith("cuda"))
    names = [name for name in PATHS if parsed.only is None or any(text in name for text in parsed.only)]
    if parsed.only is None and not place.is_gpu:
        names = [name for name in names if name not in SLOW_TO_TRY]

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201

    if place.is_gpu:
        import torch

        if not torch.cuda.is_available():
            say("\n".join(table([Row(name, NO_GPU) for name in names])))
            say("check: expected a GPU that torch can use, found none. Run it on a machine with one; `--device cpu` tries the script itself.")
            return 2
    say(facts(place) + "\n")
    rows = []
    for name in names:
        rows.append(run_path(name, place, debug=parsed.debug))
        say(f"{rows[-1].status:10s} {name} {rows[-1].note}".rstrip())
    text = "\n".join([facts(place), "", *table(rows)])
    say("\n" + text)
    if parsed.output is not None:
        parsed.output.write_text(text + "\n")
    return 1 if any(row.status == FAILED for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
