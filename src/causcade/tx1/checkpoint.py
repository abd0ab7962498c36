"""Checkpoints in the layout of the published folders: weights as safetensors, two YAML files, the vocabulary, the drugs.

    model.safetensors  model_config.yml  collator_config.yml  vocab.json  [drug_to_id_pad.json]

A folder of ours can be read by the reference implementation and the other way round. Nothing is read that could run code: the pickled `.pt` files of
the public bucket are refused.

Axes: V tokens of the vocabulary, N rows of the table of drugs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from causcade.errors import InputError
from causcade.files import write_json, write_tensors
from causcade.tx1.hub import DRUG_FILE, WEIGHTS, find_folder
from causcade.tx1.model import Tx1
from causcade.tx1.shape import CollatorSettings, ModelShape
from causcade.tx1.shape_files import read_collator_settings, read_model_shape, write_collator_settings, write_model_shape
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["Checkpoint", "read_checkpoint", "read_collation", "write_checkpoint"]

logger = logging.getLogger(__name__)

GENE_TABLE = "model.gene_encoder.embedding.weight"
DRUG_TABLE = "model.chem_encoder.embedding.weight"
DRUG_PREFIX = "model.chem_encoder."
MOST_NAMED = 3  # tensors named in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model and what it needs to be used.

    Attributes
    ----------
    model
        The model, in eval mode after reading.
    shape
        Its sizes; those of vocabulary and drugs are the tensors'.
    collator
        How its cells were collated.
    vocabulary
        Its tokens.
    drug_ids
        Row of each drug's name; None without drugs.
    name
        Of the folder or hub repository, for people.
    """

    model: Tx1
    shape: ModelShape
    collator: CollatorSettings
    vocabulary: Vocabulary
    drug_ids: dict[str, int] | None
    name: str


def read_checkpoint(
    where: str | Path,
    *,
    size: str | None = None,
    drugs: bool | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Checkpoint:
    """Read a checkpoint from a folder or the Hugging Face hub.

    Weights go straight to the device, one tensor after another.

    Parameters
    ----------
    where
        Folder, `owner/name` on the hub, or `owner/name:size` for one of several sizes.
    size
        Which size of a repository or folder that holds several (`70m`, `1.3b`, `3b`).
    drugs
        True: with the drug token; False: without, the weights of drugs are ignored and the first gene of a cell is kept as it is in `compatible`
        mode, as in the published embeddings; None: with, where the folder has the weights and the names of drugs.
    device
        Where the weights go.
    dtype
        Of the weights; None: as they are.

    Raises
    ------
    InputError
        If files are missing or damaged, tensors are missing, extra, mis-shaped or not finite, the vocabulary is another model's, or the hub cannot be
        reached.
    """
    folder, name = find_folder(where, size)
    about = _read_description(folder, drugs=drugs)
    with torch.device("meta"):
        model = Tx1(about.shape)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    path = folder / WEIGHTS
    _check_tensors(path, about.sizes, expected, ignore_drugs=about.shape.drugs is None)
    model.load_state_dict(_read_tensors(path, list(expected), torch.device(device), dtype), strict=True, assign=True)
    return Checkpoint(model=model.eval(), shape=about.shape, collator=about.collator, vocabulary=about.vocabulary, drug_ids=about.drug_ids, name=name)


def read_collation(where: str | Path, *, size: str | None = None, drugs: bool | None = None) -> tuple[ModelShape, CollatorSettings, Vocabulary]:
    """Read all of a checkpoint but its weights: enough to tokenise, or to say what embedding will cost."""
    about = _read_description(find_folder(where, size)[0], drugs=drugs)
    return about.shape, about.collator, about.vocabulary


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint, *, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write a checkpoint in the published layout. Other files in the folder stay.

    Parameters
    ----------
    folder
        Where to; made if absent. Weights come last, so that a folder with weights is whole.
    checkpoint
        What to write.
    tensors
        Weights instead of the model's own: those gathered from a sharded model, under the published names.

    Raises
    ------
    InputError
        If weights, vocabulary or drugs do not fit the shape.
    """
    folder, shape = Path(folder), checkpoint.shape
    state = {key: tensor.detach() for key, tensor in (checkpoint.model.state_dict() if tensors is None else tensors).items()}
    with torch.device("meta"):
        expected = {key: tuple(tensor.shape) for key, tensor in Tx1(shape).state_dict().items()}
    path = folder / WEIGHTS
    _check_tensors(path, {key: tuple(tensor.shape) for key, tensor in state.items()}, expected, ignore_drugs=False)
    vocabulary = _fit_vocabulary(checkpoint.vocabulary, shape.vocab_size, path, has_drugs=shape.drugs is not None)
    folder.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_model_shape(folder / "model_config.yml", shape)
    write_collator_settings(folder / "collator_config.yml", checkpoint.collator)
    vocabulary.to_json(folder / "vocab.json")
    if shape.drugs is None:
        (folder / DRUG_FILE).unlink(missing_ok=True)
    else:
        _check_drug_ids(checkpoint.drug_ids, shape.drugs.num_drugs, folder / DRUG_FILE)
        write_json(folder / DRUG_FILE, checkpoint.drug_ids)
    write_tensors(path, {key: tensor.cpu().contiguous() for key, tensor in state.items()}, {"format": "pt"})


class _Description(NamedTuple):
    """A checkpoint without its weights, and the sizes of those."""

    shape: ModelShape
    collator: CollatorSettings
    vocabulary: Vocabulary
    drug_ids: dict[str, int] | None
    sizes: dict[str, tuple[int, ...]]


def _read_description(folder: Path, *, drugs: bool | None) -> _Description:
    """Read all of a checkpoint but its weights, whose sizes decide."""
    shape, collator = read_model_shape(folder / "model_config.yml"), read_collator_settings(folder / "collator_config.yml")
    vocabulary = Vocabulary.from_json(folder / "vocab.json")
    path = folder / WEIGHTS
    sizes = _read_sizes(path)
    has_table = DRUG_TABLE in sizes
    with_drugs = has_table and (folder / DRUG_FILE).is_file() if drugs is None else drugs
    if with_drugs and not has_table:
        raise InputError(f"{path}: expected weights of drugs ({DRUG_TABLE}), found none. Load this model without drugs.")
    if has_table and drugs is None and not with_drugs:
        logger.info("%s: there are weights of drugs but no %s: the model is used without drugs", folder, DRUG_FILE)
    shape = replace(shape, vocab_size=sizes.get(GENE_TABLE, (vocabulary.size,))[0])
    if GENE_TABLE in sizes:
        vocabulary = _fit_vocabulary(vocabulary, shape.vocab_size, path, has_drugs=has_table)
    drug_ids = None
    if with_drugs:
        if shape.drugs is None:
            raise InputError(
                f"{folder / 'model_config.yml'}: expected a section chemical_encoder, found none although the weights have drugs. "
                "Take the file of the same model as the weights."
            )
        num_drugs, num_bits = sizes[DRUG_TABLE]
        shape = replace(shape, drugs=replace(shape.drugs, num_drugs=num_drugs, num_bits=num_bits))
        drug_ids = _read_drug_ids(folder / DRUG_FILE, num_drugs)
        collator = replace(collator, use_drug_token=True)
    else:
        shape, collator = replace(shape, drugs=None), replace(collator, use_drug_token=False)
    return _Description(shape, collator, vocabulary, drug_ids, sizes)


def _fit_vocabulary(vocabulary: Vocabulary, num_rows: int, path: Path, *, has_drugs: bool) -> Vocabulary:
    """Check that the vocabulary is that of the weights; a packaged one may lack `<drug>`, which is then the last row."""
    if has_drugs and vocabulary.drug is None and vocabulary.size == num_rows - 1:
        vocabulary = vocabulary.with_drug(num_rows - 1)
    if vocabulary.size != num_rows or (has_drugs and vocabulary.drug is None):
        token = "" if vocabulary.size != num_rows else " without <drug>"
        raise InputError(
            f"{path}: expected a vocabulary of {num_rows:,} tokens, as many as the table of genes has rows, found {vocabulary.size:,}{token} "
            "in vocab.json. Take `vocab.json` from the folder of the model's weights."
        )
    return vocabulary


def _read_drug_ids(path: Path, num_drugs: int) -> dict[str, int]:
    """Read the row of each drug."""
    if not path.is_file():
        raise InputError(f"{path}: expected the names of drugs (a JSON object, name to row), found no such file. Add it, or load without drugs.")
    try:
        drug_ids = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected a JSON object, name to row, found no JSON ({error}). Take the file again from its source.") from None
    return _check_drug_ids(drug_ids, num_drugs, path)


def _check_drug_ids(drug_ids: object, num_drugs: int, path: Path) -> dict[str, int]:
    """Check that each drug has a row of the table."""
    remedy = "Take the file of the same model as the weights."
    if not isinstance(drug_ids, dict):
        raise InputError(f"{path}: expected a JSON object, name to row, found {type(drug_ids).__name__}. {remedy}")
    wrong = [f"{name!r}: {row!r}" for name, row in drug_ids.items() if not isinstance(row, int) or not 0 <= row < num_drugs]
    if wrong:
        raise InputError(f"{path}: expected rows from 0 to {num_drugs - 1} of the table of drugs, found {', '.join(wrong[:MOST_NAMED])}. {remedy}")
    return drug_ids


def _damaged(path: Path, error: Exception) -> InputError:
    what = str(error).splitlines()[0]
    return InputError(f"{path}: expected whole safetensors, found a damaged or truncated file ({what}). Fetch or copy it again.")


def _read_sizes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of each tensor from the head of the file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_tensors(path: Path, keys: list[str], device: torch.device, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Read tensors one after another to a device; the first that is not finite stops."""
    tensors = {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            for key in keys:
                tensor = file.get_tensor(key)
                # What is read is mapped from the file: copied, so that the file may change or go.
                tensors[key] = tensor.to(dtype or tensor.dtype, copy=device.type == "cpu")
                if not torch.isfinite(tensor.sum(dtype=torch.float32)):
                    raise InputError(f"{path}: expected finite weights, found NaN or infinity in {key}. Fetch the file again or train anew.")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    return tensors


def _check_tensors(path: Path, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], *, ignore_drugs: bool) -> None:
    """Name tensors that are missing, extra or of another shape."""
    extra = [key for key in sorted(found.keys() - expected.keys()) if not (ignore_drugs and key.startswith(DRUG_PREFIX))]
    complaints = {
        "missing": sorted(expected.keys() - found.keys()),
        "extra": extra,
        "of another shape": [
            f"{key} ({list(found[key])} instead of {list(expected[key])})"
            for key in sorted(expected.keys() & found.keys())
            if found[key] != expected[key]
        ],
    }
    parts = [
        f"{len(keys)} {what}: {', '.join(keys[:MOST_NAMED])}{', ...' if len(keys) > MOST_NAMED else ''}" for what, keys in complaints.items() if keys
    ]
    if parts:
        raise InputError(
            f"{path}: expected the {len(expected)} tensors that model_config.yml describes, found {'; '.join(parts)}. "
            "Take weights and model_config.yml from the same folder."
        )
