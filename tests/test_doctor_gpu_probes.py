"""Rates of a GPU, measured on the spot; the measurement itself is tried on the CPU."""

import pytest
import torch

from causcade.config import Config
from causcade.doctor import examination, examine, gpu_probes
from causcade.doctor.gpu_probes import embedding_rate, gpu_seconds, measure, sums_rate
from causcade.doctor.machine import Gpus
from causcade.doctor.shapes import PlateShape
from causcade.doctor.sizes import Sizes, sizes_of
from causcade.doctor.work import Work, works_of
from causcade.tx1.shape import DrugShape, ModelShape

torch.set_num_threads(1)
SHAPE = ModelShape(vocab_size=40, d_model=16, num_layers=2, num_heads=2, drugs=DrugShape(num_drugs=5, num_bits=8))
SIZES = Sizes(
    shapes={"p1": PlateShape(600.0, 100, 1e4), "p2": PlateShape(400.0, 100, 1e4)}, num_genes=100, num_controls=50.0, num_lines=1, num_perturbations=2,
    num_conditions=4.0, num_targets=1, num_edges=100.0,
)  # fmt: skip


def test_the_embedding_and_the_sums_have_rates():
    assert embedding_rate(SHAPE, 20.4, 12, device="cpu", tokens=100) > 0
    assert sums_rate(30, "fp16", device="cpu", num_cells=200) > 0


def test_what_is_measured_follows_the_configuration(monkeypatch):
    monkeypatch.setattr(gpu_probes, "embedding_rate", lambda shape, num_genes, max_length, *, device: float(shape.d_model))
    monkeypatch.setattr(gpu_probes, "sums_rate", lambda num_genes, precision, *, device: float(num_genes))
    assert measure(Config(), SIZES) == {"embedding": float(Config().pretraining.d_model), "sums": 100.0}
    assert measure(Config(embedding={"source": "pca"}), SIZES) == {"sums": 100.0}


def test_rates_become_seconds():
    works = [
        Work(rule="embedding", stage="embedding", jobs={"p1": 6.0, "p2": 4.0}, unit="operations", flops=10.0),
        Work(rule="coexpression_moments", stage="coexpression", jobs={"p1": 1.0}, unit="u", flops=60.0),
        Work(rule="coexpression_moments_shard", stage="coexpression", jobs={"p2_1of2": 1.0, "p2_2of2": 1.0}, unit="u", flops=40.0),
        Work(rule="evidence_controls", stage="evidence", jobs={"p1": 1.0}, unit="u"),
        Work(rule="causal", stage="causal", jobs={"main": 1.0}, unit="u"),
    ]
    found = gpu_seconds(works, SIZES, {"embedding": 5.0, "sums": 10.0})
    assert found == pytest.approx({"embedding": 2.0, "coexpression_moments": 60.0, "coexpression_moments_shard": 40.0, "evidence_controls": 5.0})
    assert gpu_seconds(works, SIZES, {}) == {}


def test_a_measured_gpu_gives_gpu_hours(tmp_path, monkeypatch):
    config = Config(results=str(tmp_path))
    flops = next(work.flops for work in works_of(config, sizes_of(config)) if work.rule == "embedding")
    monkeypatch.setattr(examination, "find_gpus", lambda: Gpus(["NVIDIA H200"], "", "580", "13.0"))
    monkeypatch.setattr(examination, "describe_gpus", lambda gpus: [])
    monkeypatch.setattr(examination, "processor_factor", lambda rates: (1.0, {}))
    monkeypatch.setattr(gpu_probes, "measure", lambda config, sizes: {"embedding": flops / 7200, "sums": 1e6})
    lines = examine(config, measure=True).splitlines()
    assert any(line.startswith("measured now, on one GPU, without reading cells: embedding ") for line in lines)
    (row,) = [line for line in lines if line.startswith("embedding ") and "with TX1" not in line]
    assert " 2 " in row  # two hours of a GPU
    assert any(line.startswith("causal") and "not measured" in line for line in lines)
