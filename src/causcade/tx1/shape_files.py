"""The two files of a published folder that hold a model's sizes and its collation: `model_config.yml`, `collator_config.yml`.

Source: the configuration files of Tahoe-x1 (github.com/tahoebio/tahoe-x1, 1.0.0); keys of older versions are accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from causcade.errors import InputError
from causcade.files import write_text
from causcade.tx1.shape import MAX_VALUE, NORM_EPS, PRESETS, CollatorSettings, DrugShape, ModelShape, Pooling

__all__ = ["read_collator_settings", "read_model_shape", "write_collator_settings", "write_model_shape"]

logger = logging.getLogger(__name__)

# Keys of the published files that change nothing here.
_LEGACY_MODEL_KEYS = frozenset(
    {"name", "use_generative_training", "use_cell_conditioned_generation", "do_mlm", "precision", "wandb_id", "init_device"}
)
_LEGACY_COLLATOR_KEYS = frozenset({"data_style", "use_junk_tokens", "do_padding", "do_mlm", "drug_to_id_path", "reserve_keys", "unexp_padding"})

_POOLINGS: dict[object, Pooling] = {"cls": "cls", "avg-pool": "mean"}  # the published code averages pads too; here only what is there

_COLLATOR_KEYS = {
    "num_bins": "num_bins", "right_binning": "right_binning", "do_binning": "do_binning", "log_transform": "log_transform",
    "target_sum": "target_sum", "pad_value": "pad_value", "mask_value": "mask_value", "keep_first_n_tokens": "keep_first",
    "max_length": "max_length", "mlm_probability": "mlm_probability", "sampling": "sampling", "use_chem_token": "use_drug_token",
    "pad_token_id": "pad_id",
}  # fmt: skip


def read_model_shape(path: Path) -> ModelShape:
    """Read `model_config.yml`.

    Parameters
    ----------
    path
        The file. Keys of older versions are accepted; unknown ones are named in a warning. The size of the vocabulary, the number of drugs and
        of bits may be missing (then 0): the weights tell.

    Raises
    ------
    InputError
        If a size is missing or the file asks for something that is not implemented.
    """
    values = _read_yaml(path)
    missing = [key for key in ("d_model", "n_layers", "n_heads") if not isinstance(values.get(key), int)]
    if missing:
        raise InputError(f"{path}: expected whole numbers at {', '.join(missing)}, found none. Take the file of the same model as the weights.")
    _check_choices(values, path)
    _report_unknown(values, _LEGACY_MODEL_KEYS | set(_model_values(PRESETS["3b"])), path)
    gene, expression, decoder, product, attention, norm = (
        _section(values, key, path) for key in ("gene_encoder", "expression_encoder", "expression_decoder", "mvc", "attn_config", "norm_config")
    )
    try:
        return ModelShape(
            vocab_size=int(values.get("vocab_size") or 0),
            d_model=values["d_model"],
            num_layers=values["n_layers"],
            num_heads=values["n_heads"],
            expansion=int(values.get("expansion_ratio", 4)),
            ffn_activation=str(values.get("transformer_activation", "gelu")),
            expression_activation=str(expression.get("activation", "relu")),
            decoder_activation=str(decoder.get("activation", "leaky_relu")),
            expression_dropout=float(expression.get("dropout", 0.1)),
            expression_max=float(expression.get("max_value", MAX_VALUE)),
            gene_norm=bool(gene.get("use_norm", False)),
            expression_norm=bool(expression.get("use_norm", False)),
            decoder_layers=int(decoder.get("n_layers", 2)),
            num_outputs=int(decoder.get("n_outputs", 1)),
            norm_scheme=str(values.get("norm_scheme", "pre")),
            norm_eps=float(norm.get("eps", NORM_EPS)),
            glu=bool(values.get("use_glu", False)),
            product_activation=str(product.get("query_activation", "sigmoid")),
            scale_product=bool(product.get("scaled_dot_product", False)),
            drugs=_drug_shape(_section(values, "chemical_encoder", path)),
            standard_scale_outputs=bool(values.get("standard_scale_outputs", False)),
            # The published models trained with the triton kernel are used without that mask.
            pooling=_POOLINGS[values.get("cell_emb_style", "cls")],
            hide_masked=attention.get("attn_impl") == "torch" and bool(attention.get("use_attn_mask", False)),
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: expected numbers for sizes, found another kind of value ({error}). Correct the file.") from error


def write_model_shape(path: Path, shape: ModelShape) -> None:
    """Write `model_config.yml` in the published layout."""
    write_text(path, yaml.safe_dump(_model_values(shape), sort_keys=False))


def read_collator_settings(path: Path) -> CollatorSettings:
    """Read `collator_config.yml`.

    Keys of older versions are accepted; unknown ones are named in a warning.

    Raises
    ------
    InputError
        If the file is no YAML mapping or a value is of the wrong kind.
    """
    values = _read_yaml(path)
    _report_unknown(values, _LEGACY_COLLATOR_KEYS | set(_COLLATOR_KEYS), path)
    defaults = CollatorSettings()
    changes: dict[str, Any] = {}
    for key, name in _COLLATOR_KEYS.items():
        value, kind = values.get(key), type(getattr(defaults, name))
        if value is None:
            continue
        try:
            changes[name] = tuple(map(float, value)) if key == "mlm_probability" and isinstance(value, list) else kind(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: expected a {kind.__name__} at {key}, found {value!r}. Correct the file.") from error
    return replace(defaults, **changes)


def write_collator_settings(path: Path, settings: CollatorSettings) -> None:
    """Write `collator_config.yml` in the published layout."""
    values: dict[str, Any] = {"do_padding": True, "do_mlm": True, "data_style": "both", "use_junk_tokens": False}
    values |= {key: _plain(getattr(settings, name)) for key, name in _COLLATOR_KEYS.items()}
    if settings.use_drug_token:
        values["drug_to_id_path"] = {"remote": None, "local": "drug_to_id_pad.json"}
    write_text(path, yaml.safe_dump(values, sort_keys=False))


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = str(error).splitlines()[0]
        raise InputError(f"{path}: expected YAML, found something else ({what}). Take the file again from its source.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}. Take the file again from its source.")
    return values


def _section(values: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Take the mapping below `key`, empty if absent."""
    section = values.get(key) or {}
    if not isinstance(section, Mapping):
        raise InputError(f"{path}: expected a mapping at {key}, found {section!r}. Take the file again from its source.")
    return dict(section)


def _expect(value: object, wanted: Sequence[object], key: str, path: Path) -> None:
    """Stop at a choice that is not implemented."""
    if value not in wanted:
        choices = " or ".join(map(repr, wanted))
        raise InputError(f"{path}: expected {key} to be {choices}, found {value!r}. No published model has it; take one of those.")


def _report_unknown(values: Mapping[str, Any], known: set[str] | frozenset[str], path: Path) -> None:
    """Name keys that mean nothing here."""
    unknown = sorted(map(str, set(values) - known))
    if unknown:
        logger.warning("%s: keys without a meaning here are ignored: %s", path, ", ".join(unknown))


def _check_choices(values: dict[str, Any], path: Path) -> None:
    """Stop at what no published model has and nothing here computes."""
    gene, expression, product, norm = (_section(values, key, path) for key in ("gene_encoder", "expression_encoder", "mvc", "norm_config"))
    if gene.get("embeddings"):
        raise InputError(
            f"{path}: expected one table of genes, found extra ones at gene_encoder.embeddings. They are experimental and not supported; "
            "use a model without them."
        )
    _expect(expression.get("input_emb_style", "continuous"), ["continuous"], "expression_encoder.input_emb_style", path)
    _expect(values.get("cell_emb_style", "cls"), list(_POOLINGS), "cell_emb_style", path)
    _expect(product.get("arch_style", "inner product"), ["inner product"], "mvc.arch_style", path)
    _expect(norm.get("norm_type", "layernorm"), ["layernorm", "low_precision_layernorm"], "norm_config.norm_type", path)


def _drug_shape(values: dict[str, Any]) -> DrugShape | None:
    """Take the encoder of drugs from a model's configuration."""
    if not values:
        return None
    return DrugShape(
        num_drugs=int(values.get("num_drugs") or 0),
        num_bits=int(values.get("fp_dim") or 0),
        activation=str(values.get("activation", "gelu")),
        is_frozen=bool(values.get("freeze", False)),
    )


def _model_values(shape: ModelShape) -> dict[str, Any]:
    """Lay out `model_config.yml`."""
    values: dict[str, Any] = {
        "name": "tahoe_x1",
        "d_model": shape.d_model,
        "n_layers": shape.num_layers,
        "n_heads": shape.num_heads,
        "init_device": "cpu",
        "expansion_ratio": shape.expansion,
        "standard_scale_outputs": shape.standard_scale_outputs,
        "transformer_activation": shape.ffn_activation,
        "norm_scheme": shape.norm_scheme,
        "use_generative_training": False,
        "use_cell_conditioned_generation": False,
        "use_glu": shape.glu,
        "cell_emb_style": next(style for style, pooling in _POOLINGS.items() if pooling == shape.pooling),
        "attn_config": {
            "attn_impl": "torch" if shape.hide_masked else "flash",
            "use_attn_mask": shape.hide_masked,
            "attn_type": "grouped_query_attention",
            "kv_nheads": shape.num_heads,
            "attn_pdrop": 0.0,
        },
        "norm_config": {"norm_type": "layernorm", "eps": shape.norm_eps},
        "expression_encoder": {
            "input_emb_style": "continuous",
            "dropout": shape.expression_dropout,
            "max_value": _plain(shape.expression_max),
            "activation": shape.expression_activation,
            "use_norm": shape.expression_norm,
        },
        "gene_encoder": {"use_norm": shape.gene_norm},
        "mvc": {"arch_style": "inner product", "query_activation": shape.product_activation, "scaled_dot_product": shape.scale_product},
        "expression_decoder": {"n_outputs": shape.num_outputs, "n_layers": shape.decoder_layers, "activation": shape.decoder_activation},
        "vocab_size": shape.vocab_size,
        "precision": "amp_bf16",
    }
    if shape.drugs is not None:
        values["chemical_encoder"] = {
            "activation": shape.drugs.activation,
            "padding_idx": 0,
            "freeze": shape.drugs.is_frozen,
            "num_drugs": shape.drugs.num_drugs,
            "fp_dim": shape.drugs.num_bits,
        }
    return values


def _plain(value: Any) -> Any:
    """Write a whole float as an integer, a tuple as a list, as the published files do."""
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
