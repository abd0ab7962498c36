"""Sections embedding and pretraining: what decides a result, and mistakes in a person's words."""

import pytest
from config_cases import mistakes_of

from causcade.config import Config, EmbeddingConfig, PretrainingConfig
from causcade.config_tx1 import is_hub_name, path_of_plate


@pytest.mark.parametrize(
    ("model", "is_name"),
    [
        ("tahoebio/Tahoe-x1", True),
        ("tahoebio/Tahoe-x1:70m", True),
        ("models/deep/70m", False),
        ("./models/70m", False),
        ("/models/70m", False),
        ("~/70m", False),
        ("70m", False),
        ("there/model", False),
    ],
)
def test_names_of_the_hub(tmp_path, monkeypatch, model, is_name):
    (tmp_path / "there" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(model) is is_name


def test_each_plate_may_have_its_file():
    assert path_of_plate("emb_{plate}.npy", "p1") == "emb_p1.npy"
    assert path_of_plate("emb.npy", "p1") == "emb.npy"


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("pca", {"source", "cells", "storage", "dimensions"}),
        ("precomputed", {"source", "cells", "storage", "obsm", "path"}),
        (
            "tx1",
            {"source", "cells", "storage", "model", "mode", "max_length", "pooling", "normalise", "gene_embeddings", "min_covered", "precision"}
            | {"batch_cells"},
        ),
    ],
)
def test_what_decides_an_embedding_is_of_its_source(source, keys):
    settings = EmbeddingConfig(source=source)
    assert set(settings.deciding()) == keys
    assert EmbeddingConfig(**settings.deciding()) == settings


def test_every_key_decides_a_source_or_the_speed():
    of_sources = {key for keys in EmbeddingConfig.keys_of.values() for key in keys}
    assert of_sources | set(EmbeddingConfig.speed_only) | {"source", "cells", "storage"} == set(EmbeddingConfig.model_fields)
    assert set(PretrainingConfig.speed_only) < set(PretrainingConfig.model_fields)
    assert Config().deciding()["pretraining"].keys() == set(PretrainingConfig.model_fields) - set(PretrainingConfig.speed_only)


@pytest.mark.parametrize(("settings", "trains"), [({"source": "tx1"}, True), ({"source": "tx1", "model": "a/b"}, False), ({"source": "pca"}, False)])
def test_a_model_is_trained_where_no_other_is_named(settings, trains):
    assert EmbeddingConfig(**settings).trains is trains


CASES = {
    "nowhere": (
        {"embedding": {"source": "precomputed", "obsm": None}},
        "embedding: expected `obsm` or `path` beside `source: precomputed`, found neither; write `obsm: KEY`, or `path: FILE`.",
    ),
    "heads": (
        {"pretraining": {"d_model": 50, "num_heads": 4}},
        "pretraining: expected `d_model` to be a multiple of `num_heads`, found 50 and 4; write for example `d_model: 52`.",
    ),
    "structures": (
        {"pretraining": {"drugs": True}},
        "pretraining: expected `smiles`, the table of structures, beside `drugs: true`, found null; give it, or write `drugs: false`.",
    ),
    "genes": (
        {"pretraining": {"initial": "a/b", "vocabulary": "vocab.json"}},
        "pretraining: expected `vocabulary` or `initial`, found both; `initial` keeps its own genes: write `vocabulary: null`.",
    ),
    "numbers": (
        {"pretraining": {"mds": ["train"]}},
        "pretraining: expected `vocabulary` (or `initial`) beside `mds`, found neither; write `vocabulary: PATH/vocab.json`, whose numbers the cells "
        "hold.",
    ),
    "schedule": (
        {"pretraining": {"schedule": "step"}},
        "pretraining.schedule: expected 'cosine', 'linear' or 'constant', found 'step'. Correct the value; config/config.yaml says what it means.",
    ),
    "optimiser": (
        {"pretraining": {"parallel": "fsdp"}},
        "pretraining: expected `parallel: ddp` beside `optimiser: muon` (what null means for a new model of your own shape), found fsdp; write "
        "`optimiser: adamw`, or `parallel: ddp`.",
    ),
    "processes": (
        {"pretraining": {"batch_cells": 10, "processes": 4}},
        "pretraining: expected `batch_cells` to be a multiple of `processes`, found 10 and 4; write for example `batch_cells: 12`.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mistakes(case):
    value, sentence = CASES[case]
    assert mistakes_of(value) == [sentence]


def test_the_shape_of_a_published_or_known_model_is_not_looked_at():
    for settings in ({"size": "70m"}, {"initial": "a/b"}):
        PretrainingConfig(d_model=50, num_heads=4, **settings)


def test_optimiser_and_schedule_are_the_published_ones_but_for_new_shapes():
    assert [PretrainingConfig(**about).chosen_schedule for about in ({}, {"size": "70m"}, {"schedule": "constant"})] == [
        "linear",
        "cosine",
        "constant",
    ]
    assert PretrainingConfig().chosen_optimiser == "muon"
    assert PretrainingConfig(size="70m").chosen_optimiser == PretrainingConfig(initial="a/b", parallel="fsdp").chosen_optimiser == "adamw"
    assert PretrainingConfig(optimiser="adamw", parallel="fsdp").chosen_optimiser == "adamw"
