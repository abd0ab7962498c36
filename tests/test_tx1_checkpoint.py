import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tx1_cases import TINY, TINY_DRUGS, load_arrays, parity_batch, parity_folder, tiny_batch, tiny_model

from causcade.errors import InputError
from causcade.tx1.checkpoint import Checkpoint, read_checkpoint, read_collation, write_checkpoint
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.vocabulary import Vocabulary

GENES = [f"ENSG{number:011d}" for number in range(50)]
DRUG_IDS = {"<pad>": 0, "a": 1, "b": 2, "c": 3, "d": 4}
NORM = "model.transformer_encoder.norm.weight"


def tiny_checkpoint(*, drugs=False, shape=None):
    """A random model of 64 tokens (65 with drugs) and what belongs to it."""
    vocabulary = Vocabulary.from_genes(GENES, drug=drugs)
    shape = replace(shape or (TINY_DRUGS if drugs else TINY), vocab_size=vocabulary.size)
    settings = CollatorSettings(keep_first=2 if drugs else 1, use_drug_token=drugs, max_length=32)
    return Checkpoint(
        model=tiny_model(shape), shape=shape, collator=settings, vocabulary=vocabulary, drug_ids=DRUG_IDS if drugs else None, name="tiny"
    )


@pytest.fixture
def folder(tmp_path):
    """A written checkpoint with drugs."""
    write_checkpoint(tmp_path / "tiny", tiny_checkpoint(drugs=True))
    return tmp_path / "tiny"


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors")


def change_yaml(path, **changes):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


@pytest.mark.parametrize("drugs", [False, True])
def test_written_and_read(tmp_path, drugs):
    written = tiny_checkpoint(drugs=drugs)
    write_checkpoint(tmp_path / "tiny", written)
    names = {"model.safetensors", "model_config.yml", "collator_config.yml", "vocab.json"} | ({"drug_to_id_pad.json"} if drugs else set())
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == names
    read = read_checkpoint(tmp_path / "tiny")
    assert (read.shape, read.collator, read.vocabulary, read.drug_ids, read.name) == (
        written.shape, written.collator, written.vocabulary, written.drug_ids, "tiny",
    )  # fmt: skip
    assert not read.model.training
    state = written.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in read.model.state_dict().items())
    batch = tiny_batch([5, 9], shape=written.shape)
    assert torch.equal(read.model(batch).cell_BD, written.model(batch).cell_BD)
    assert read_collation(tmp_path / "tiny") == (written.shape, written.collator, written.vocabulary)


def test_weights_read_do_not_hang_on_the_file(folder):
    read = read_checkpoint(folder)
    before = read.model(tiny_batch([5], shape=read.shape)).cell_BD
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(2000)
        file.write(bytes(8000))
    assert torch.equal(read.model(tiny_batch([5], shape=read.shape)).cell_BD, before)
    assert all(parameter.requires_grad for parameter in read.model.parameters())


def test_writing_again_leaves_other_files_and_no_stale_drugs(folder):
    (folder / "metrics.jsonl").write_text("{}")
    write_checkpoint(folder, tiny_checkpoint())
    assert (folder / "metrics.jsonl").is_file()
    assert not (folder / "drug_to_id_pad.json").exists()
    assert read_checkpoint(folder).shape.drugs is None


def test_gathered_tensors_are_written_instead(tmp_path):
    checkpoint = tiny_checkpoint()
    write_checkpoint(tmp_path / "m", checkpoint, tensors={name: tensor + 1 for name, tensor in checkpoint.model.state_dict().items()})
    name, tensor = next(iter(checkpoint.model.state_dict().items()))
    assert torch.equal(load_file(tmp_path / "m" / "model.safetensors")[name], tensor + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folder, dtype):
    read = read_checkpoint(folder, dtype=dtype)
    assert {parameter.dtype for parameter in read.model.parameters()} == {dtype}


@pytest.mark.parametrize("case", ["base", "chem"])
def test_parity_folder_is_rewritten_as_it_was(shared_data, tmp_path, case):
    source = parity_folder(shared_data, case)
    read = read_checkpoint(source)
    write_checkpoint(tmp_path / "copy", read)
    published, written = (load_file(path / "model.safetensors") for path in (source, tmp_path / "copy"))
    assert published.keys() == written.keys()
    assert all(torch.equal(tensor, written[name]) for name, tensor in published.items())
    for name in ["vocab.json"] + ["drug_to_id_pad.json"] * (case == "chem"):
        assert json.loads((source / name).read_text()) == json.loads((tmp_path / "copy" / name).read_text())


def test_without_drugs_as_the_published_default(shared_data):
    source = parity_folder(shared_data, "chem")
    read = read_checkpoint(source, drugs=False)
    assert (read.shape.drugs, read.drug_ids, read.collator.use_drug_token, read.collator.keep_first) == (None, None, False, 2)
    with torch.no_grad():
        found = read.model(parity_batch(source, "collated_infer_nochem")).cell_BD
    expected = torch.from_numpy(load_arrays(source / "outputs_infer_nochem.npz")["cell_emb"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_drugs_without_names_are_left_out_unless_asked_for(folder):
    (folder / "drug_to_id_pad.json").unlink()
    assert read_checkpoint(folder).shape.drugs is None
    with pytest.raises(InputError, match=r"expected the names of drugs .* found no such file. Add it, or load without drugs"):
        read_checkpoint(folder, drugs=True)


def test_drugs_asked_of_a_model_without(tmp_path):
    write_checkpoint(tmp_path / "m", tiny_checkpoint())
    with pytest.raises(InputError, match=r"expected weights of drugs \(model.chem_encoder.embedding.weight\), found none"):
        read_checkpoint(tmp_path / "m", drugs=True)


def test_sizes_come_from_the_tensors(folder):
    model = yaml.safe_load((folder / "model_config.yml").read_text())
    del model["vocab_size"], model["chemical_encoder"]["num_drugs"], model["chemical_encoder"]["fp_dim"]
    (folder / "model_config.yml").write_text(yaml.safe_dump(model))
    assert read_checkpoint(folder).shape == tiny_checkpoint(drugs=True).shape


def test_packaged_vocabulary_without_drug_token(folder):
    tokens = json.loads((folder / "vocab.json").read_text())
    number = tokens.pop("<drug>")
    (folder / "vocab.json").write_text(json.dumps(tokens))
    assert read_checkpoint(folder).vocabulary.drug == number


@pytest.mark.parametrize("change", [lambda tokens: tokens | {"ENSG99999999999": 65}, lambda tokens: dict(list(tokens.items())[:40])])
def test_vocabulary_of_another_model(folder, change):
    tokens = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(change(tokens)))
    with pytest.raises(InputError, match=r"expected a vocabulary of 65 tokens, as many as the table of genes has rows, found (66|40) in vocab.json"):
        read_checkpoint(folder)


def test_row_without_a_token_that_is_not_the_drugs(tmp_path):
    write_checkpoint(tmp_path / "m", tiny_checkpoint())
    tokens = json.loads((tmp_path / "m" / "vocab.json").read_text())
    tokens.pop("<junk0>", None)
    tokens.pop(max(tokens, key=tokens.get))
    (tmp_path / "m" / "vocab.json").write_text(json.dumps(tokens))
    with pytest.raises(InputError, match="a vocabulary of 64 tokens"):
        read_checkpoint(tmp_path / "m")


def test_vocabulary_with_all_rows_but_no_drug(folder):
    tokens = json.loads((folder / "vocab.json").read_text())
    tokens["<other>"] = tokens.pop("<drug>")
    (folder / "vocab.json").write_text(json.dumps(tokens))
    with pytest.raises(InputError, match="found 65 without <drug>"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {key: value for key, value in t.items() if key != NORM}, f"1 missing: {NORM}"),
        (lambda t: t | {"model.spare": torch.zeros(1)}, "1 extra: model.spare"),
        (lambda t: t | {NORM: torch.zeros(3)}, rf"1 of another shape: {NORM} \(\[3\] instead of \[16\]\)"),
        (lambda t: {f"net.{key}": value for key, value in t.items()}, r"missing: .*, \.\.\.; .* extra: .*, \.\.\."),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, change, message):
    change_tensors(folder, change)
    with pytest.raises(InputError, match=message):
        read_checkpoint(folder, drugs=False)


def test_configuration_of_another_model(folder):
    change_yaml(folder / "model_config.yml", n_layers=1)
    with pytest.raises(InputError, match=r"12 extra: model.transformer_encoder.layers.1.*model_config.yml from the same folder"):
        read_checkpoint(folder)


def test_weights_of_drugs_without_their_configuration(folder):
    model = yaml.safe_load((folder / "model_config.yml").read_text())
    del model["chemical_encoder"]
    (folder / "model_config.yml").write_text(yaml.safe_dump(model))
    with pytest.raises(InputError, match="expected a section chemical_encoder"):
        read_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder, value):
    change_tensors(folder, lambda tensors: tensors[NORM].__setitem__(3, value))
    with pytest.raises(InputError, match=f"expected finite weights, found NaN or infinity in {NORM}"):
        read_checkpoint(folder)


@pytest.mark.parametrize("num_bytes", [0, 100, 5000])
def test_truncated_weights(folder, num_bytes):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:num_bytes])
    with pytest.raises(InputError, match="expected whole safetensors, found a damaged or truncated file"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "found list"),
        ("{", "found no JSON"),
        ('{"a": 5}', "rows from 0 to 4 of the table of drugs, found 'a': 5"),
        ('{"a": "1"}', "found 'a': '1'"),
    ],
)
def test_wrong_names_of_drugs(folder, text, message):
    (folder / "drug_to_id_pad.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_checkpoint(folder)


def test_what_does_not_fit_is_not_written(tmp_path):
    checkpoint = tiny_checkpoint(drugs=True)
    with pytest.raises(InputError, match="a vocabulary of 65 tokens"):
        write_checkpoint(tmp_path / "m", replace(checkpoint, vocabulary=Vocabulary.from_genes([f"ENSG{number:011d}" for number in range(70)])))
    tensors = {name: tensor for name, tensor in checkpoint.model.state_dict().items() if "flag" not in name}
    with pytest.raises(InputError, match=r"1 missing: model\.flag_encoder\.weight"):
        write_checkpoint(tmp_path / "m", checkpoint, tensors=tensors)
    with pytest.raises(InputError, match="found NoneType"):
        write_checkpoint(tmp_path / "m", replace(checkpoint, drug_ids=None))
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_folder_moved_elsewhere(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tiny-model")
    assert read_checkpoint(tmp_path / "tiny-model").name == "tiny-model"
