"""What a model costs before it runs."""

import pytest

from causcade.config import Config, parse_config
from causcade.embedding_cost import JUDGED_CELLS, cell_flops, cost_in_words, longest_judging_seconds, longest_seconds, memory_mb, shape_of
from causcade.tx1.shape import PRESETS, ModelShape, forward_flops, num_parameters
from causcade.tx1.shape_files import write_model_shape

TX1 = {"embedding": {"source": "tx1"}}


def config_of(**sections):
    return parse_config({key: {**TX1.get(key, {}), **value} for key, value in ({"embedding": {}} | sections).items()})


def test_the_shape_is_that_of_the_model_in_use(tmp_path):
    shape = ModelShape(vocab_size=300, d_model=32, num_layers=2, num_heads=2)
    write_model_shape(tmp_path / "model_config.yml", shape)
    assert shape_of(config_of(embedding={"model": str(tmp_path)}), "embedding").d_model == 32
    assert shape_of(config_of(embedding={"model": "tahoebio/Tahoe-x1:70m"}), "embedding") == PRESETS["70m"]
    assert shape_of(config_of(embedding={"model": "tahoebio/Tahoe-x1:1b"}), "embedding") == PRESETS["1.3b"]
    assert shape_of(config_of(embedding={"model": "owner/other"}), "embedding") is None
    assert shape_of(config_of(embedding={"model": str(tmp_path / "gone")}), "embedding") is None
    assert shape_of(parse_config({"embedding": {"source": "pca"}}), "embedding") is None


def test_the_shape_of_a_model_that_the_run_trains():
    small = config_of(pretraining={"d_model": 24, "num_layers": 5, "num_heads": 3})
    for stage in ("embedding", "pretraining"):
        shape = shape_of(small, stage)
        assert (shape.d_model, shape.num_layers, shape.num_heads) == (24, 5, 3)
    assert shape_of(config_of(pretraining={"size": "3b"}), "pretraining") == PRESETS["3b"]
    assert shape_of(config_of(pretraining={"initial": "tahoebio/Tahoe-x1:70m"}), "embedding") == PRESETS["70m"]


def test_memory_holds_the_weights_and_grows_with_the_batch():
    published = config_of(embedding={"model": "tahoebio/Tahoe-x1:3b"})
    assert memory_mb(published, "embedding") > 2 * 4 * num_parameters(PRESETS["3b"]) / 1e6
    larger = config_of(embedding={"model": "tahoebio/Tahoe-x1:3b", "batch_tokens": 1_000_000})
    assert memory_mb(larger, "embedding") > memory_mb(published, "embedding")
    every = config_of(embedding={"model": "tahoebio/Tahoe-x1:3b", "cells": "all"})
    assert memory_mb(every, "embedding", 1_000_000) - memory_mb(every, "embedding") == pytest.approx(8 * 2560, abs=1)
    assert memory_mb(published, "embedding", 1_000_000) - memory_mb(published, "embedding") == pytest.approx(2 * 2560, abs=1)
    assert memory_mb(parse_config({"embedding": {"source": "pca"}}), "embedding", 10) == 0
    one, parts = (config_of(pretraining={"size": "70m", "micro_cells": number}) for number in (None, 4))
    assert memory_mb(one, "pretraining") > memory_mb(parts, "pretraining") > 5 * 4 * num_parameters(PRESETS["70m"]) / 1e6


def test_operations_of_a_cell():
    assert cell_flops(PRESETS["70m"], 1460.2, 2048) == forward_flops(PRESETS["70m"], [1461], only_cells=True)
    assert cell_flops(PRESETS["70m"], 1460.2, 1024) == forward_flops(PRESETS["70m"], [1024], only_cells=True)
    assert cell_flops(PRESETS["3b"], 1460.2, 2048) == forward_flops(PRESETS["3b"], [1462], only_cells=True)


def test_the_price_of_the_atlas():
    config = config_of(embedding={"model": "tahoebio/Tahoe-x1:3b"})
    head, every, controls = cost_in_words(config, 100_648_790, 1460, 2_330_156, rate=4e14)
    assert head.startswith("embedding with TX1 (width 2560, 32 layers): ")
    total = 100_648_790 * cell_flops(PRESETS["3b"], 1460, 2048)
    assert 6e20 < total < 1e21
    assert every == f"  all 100,648,790 cells: {total / 1e18:.3g} EFLOP, {total / 4e14 / 3600:,.3g} hours at 400 TFLOP/s"
    assert controls.startswith("  the 2,330,156 controls only (asked for): ")
    assert float(controls.split(": ")[1].split()[0]) == pytest.approx(total * 2_330_156 / 100_648_790 / 1e18, rel=0.01)


def test_no_time_without_a_rate_and_no_number_of_unknown_controls():
    _, every, controls = cost_in_words(config_of(embedding={"cells": "all"}), 1000, 100)
    assert "hours" not in every
    assert every.startswith("  all 1,000 cells (asked for): ")
    assert controls == "  the controls only: as much less as they are fewer; `causcade validate` counts them"


def test_other_sources_and_unknown_models_have_no_price():
    assert cost_in_words(parse_config({"embedding": {"source": "pca"}}), 10, 10) == []
    assert cost_in_words(config_of(embedding={"model": "owner/other"}), 10, 10) == [
        "embedding with owner/other: its shape is not known here, so neither is what it costs"
    ]
    assert cost_in_words(Config(), 10, 10) == cost_in_words(Config(), 10, 10)


def test_a_time_limit_counts_on_little():
    few = config_of(embedding={"model": "tahoebio/Tahoe-x1:70m"})
    every = config_of(embedding={"model": "tahoebio/Tahoe-x1:70m", "cells": "all"})
    assert longest_seconds(every, 8000, on_gpu=True) == pytest.approx(4 * longest_seconds(few, 8000, on_gpu=True))
    assert longest_seconds(few, 8000, on_gpu=False) > 100 * longest_seconds(few, 8000, on_gpu=True)
    # 0.67 cells of 70M in a second of one processor are measured: a plate of controls gets at least twice what that rate takes
    assert longest_seconds(few, 8000, on_gpu=False) > 2 * 2000 / 0.67
    assert longest_seconds(parse_config({"embedding": {"source": "pca"}}), 8000, on_gpu=True) == 0


def test_the_time_limit_of_judging_is_that_of_the_model_that_is_trained():
    config = parse_config({"pretraining": {"size": "70m"}})
    shape = shape_of(config, "pretraining")
    expected = JUDGED_CELLS * cell_flops(shape, 1500, config.embedding.max_length)
    assert longest_judging_seconds(config, on_gpu=True) == pytest.approx(expected / 3e13)
    assert longest_judging_seconds(config, on_gpu=False) > 3600
