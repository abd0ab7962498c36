import logging
from dataclasses import replace

import pytest
import yaml
from tx1_cases import TINY, TINY_DRUGS, parity_folder

from causcade.errors import InputError
from causcade.tx1.shape import PRESETS, CollatorSettings
from causcade.tx1.shape_files import read_collator_settings, read_model_shape, write_collator_settings, write_model_shape

ODD = replace(
    TINY_DRUGS, expansion=3, ffn_activation="silu", expression_activation="relu", decoder_activation="tanh", expression_dropout=0.25,
    expression_max=99.5, gene_norm=False, expression_norm=False, decoder_layers=3, num_outputs=2, norm_scheme="post", norm_eps=1e-6, glu=True,
    product_activation="relu", scale_product=False, standard_scale_outputs=True, hide_masked=True, pooling="mean",
)  # fmt: skip


@pytest.mark.parametrize("shape", [TINY, ODD, *PRESETS.values()])
def test_shape_written_and_read(tmp_path, shape):
    write_model_shape(tmp_path / "m.yml", shape)
    assert read_model_shape(tmp_path / "m.yml") == shape


@pytest.mark.parametrize(
    "settings",
    [
        CollatorSettings(),
        CollatorSettings(
            num_bins=12, right_binning=True, do_binning=False, log_transform=True, target_sum=1e6, pad_value=-3.5, mask_value=-4, keep_first=2,
            max_length=77, mlm_probability=(0.25, 0.5), sampling=False, use_drug_token=True, pad_id=3,
        ),
    ],
)  # fmt: skip
def test_settings_written_and_read(tmp_path, settings):
    write_collator_settings(tmp_path / "c.yml", settings)
    assert read_collator_settings(tmp_path / "c.yml") == settings


@pytest.mark.parametrize("case", ["base", "chem"])
def test_published_layout(shared_data, tmp_path, case):
    folder = parity_folder(shared_data, case)
    shape, settings = read_model_shape(folder / "model_config.yml"), read_collator_settings(folder / "collator_config.yml")
    assert (shape.d_model, shape.num_layers, shape.num_heads, shape.vocab_size) == (64, 2, 4, 208 + (case == "chem"))
    assert (settings.keep_first, settings.use_drug_token) == ((2, True) if case == "chem" else (1, False))
    write_model_shape(tmp_path / "model_config.yml", shape)
    write_collator_settings(tmp_path / "collator_config.yml", settings)
    for name, differing in (("model_config.yml", {"precision"}), ("collator_config.yml", {"drug_to_id_path"})):
        written, published = (yaml.safe_load((where / name).read_text()) for where in (tmp_path, folder))
        assert {key: written[key] for key in published.keys() - differing} == {key: published[key] for key in published.keys() - differing}


def model_file(tmp_path, **changes):
    values = {"d_model": 16, "n_layers": 1, "n_heads": 2} | changes
    path = tmp_path / "model_config.yml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_old_keys_are_silent_and_unknown_ones_are_named(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_model_shape(model_file(tmp_path, name="vevo_scgpt", wandb_id="x", do_mlm=True, init_device="cpu", precision="amp_bf16"))
        assert not caplog.records
        read_model_shape(model_file(tmp_path, colour="red", flavour=1))
    assert "colour, flavour" in caplog.text


def test_mask_of_the_old_kernel_is_not_used(tmp_path):
    triton, torch_ = ({"attn_impl": kernel, "use_attn_mask": True} for kernel in ("triton", "torch"))
    assert not read_model_shape(model_file(tmp_path, attn_config=triton)).hide_masked
    assert read_model_shape(model_file(tmp_path, attn_config=torch_)).hide_masked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": None, "n_heads": "2"}, "whole numbers at d_model, n_heads"),
        ({"gene_encoder": {"embeddings": {"esm": {}}}}, "extra ones at gene_encoder.embeddings"),
        ({"expression_encoder": {"input_emb_style": "category"}}, "expression_encoder.input_emb_style to be 'continuous', found 'category'"),
        ({"cell_emb_style": "w-pool"}, "cell_emb_style to be 'cls' or 'avg-pool', found 'w-pool'"),
        ({"mvc": {"arch_style": "concat query"}}, "found 'concat query'"),
        ({"norm_config": {"norm_type": "rmsnorm"}}, "found 'rmsnorm'"),
        ({"mvc": [1]}, r"a mapping at mvc, found \[1\]"),
        ({"expansion_ratio": "four"}, "numbers for sizes"),
    ],
)
def test_what_cannot_be_run(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_model_shape(model_file(tmp_path, **changes))


@pytest.mark.parametrize(("text", "message"), [("a: [", "expected YAML"), ("- 1\n- 2\n", "a mapping of settings, found list")])
def test_broken_files(tmp_path, text, message):
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_collator_settings(tmp_path / "c.yml")


def test_wrong_kind_of_setting(tmp_path):
    (tmp_path / "c.yml").write_text("max_length: long\n")
    with pytest.raises(InputError, match="expected a int at max_length, found 'long'"):
        read_collator_settings(tmp_path / "c.yml")
