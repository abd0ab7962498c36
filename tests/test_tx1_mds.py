"""Reading of MDS folders. Where mosaicml-streaming is not installed, a stand-in for its reader and its format is used instead."""

import builtins
import importlib.util
import json
import pickle
import sys
import types
import zlib

import numpy as np
import pytest
import torch

from causcade.errors import InputError
from causcade.tx1.mds import MdsCells
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.stream import Collation, TrainingStream
from causcade.tx1.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_genes([f"ENSG{number:011d}" for number in range(1, 40)])
COLUMNS = {"genes": "pkl", "expressions": "pkl", "id": "int", "drug": "str"}


def make_cells(num=23, seed=0):
    rng = np.random.default_rng(seed)
    cells = []
    for number in range(num):
        genes = rng.permutation(VOCABULARY.gene_tokens)[: rng.integers(1, 30)]
        counts = rng.integers(1, 20, len(genes)).astype(np.float32)
        sample = {
            "genes": torch.tensor([VOCABULARY.cls, *genes]),
            "expressions": torch.tensor([-2.0, *counts]),
            "id": number,
            "drug": f"d{number % 3}",
        }
        cells.append(sample)
    return cells


class StandInReader:
    """As much of mosaicml-streaming's reader as is used, for pickled columns."""

    def __init__(self, about):
        files = {name: about[name] and types.SimpleNamespace(**about[name]) for name in ("raw_data", "zip_data")}
        self.raw_data, self.zip_data = files["raw_data"], files["zip_data"]
        self.column_names, self.compression, self.samples = about["column_names"], about["compression"], about["samples"]

    def decode_sample(self, data):
        sizes = np.frombuffer(data[: 4 * len(self.column_names)], np.uint32)
        ends = 4 * len(sizes) + np.cumsum(sizes)
        return {name: pickle.loads(data[end - size : end]) for name, size, end in zip(self.column_names, sizes, ends, strict=True)}


def write_stand_in(folder, cells, *, per_shard=10, packed=True):
    folder.mkdir()
    shards = []
    for number, start in enumerate(range(0, len(cells), per_shard)):
        part = cells[start : start + per_shard]
        rows = []
        for cell in part:
            values = [pickle.dumps(cell[name]) for name in COLUMNS]
            rows.append(np.array([len(value) for value in values], np.uint32).tobytes() + b"".join(values))
        first = 4 * (len(part) + 2)
        starts = first + np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        data = np.array([len(part), *starts], np.uint32).tobytes() + b"".join(rows)
        name = f"shard.{number:05d}.mds"
        (folder / (name + ".z" if packed else name)).write_bytes(zlib.compress(data) if packed else data)
        about = {"raw_data": {"basename": name, "bytes": len(data)}, "zip_data": {"basename": name + ".z"} if packed else None}
        shards.append(about | {"column_names": list(COLUMNS), "compression": "z" if packed else None, "samples": len(part)})
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))


@pytest.fixture(params=["stand-in", "mosaicml-streaming"])
def write(request, monkeypatch):
    """Return a function that writes cells as an MDS folder."""
    if request.param == "mosaicml-streaming":
        if importlib.util.find_spec("streaming") is None:
            pytest.skip("mosaicml-streaming is not installed")
        from streaming import MDSWriter

        def by_streaming(folder, cells, *, packed=True):
            with MDSWriter(
                out=str(folder), columns=COLUMNS, compression="zstd" if packed else None, hashes=["sha1", "xxh64"], size_limit=4000
            ) as out:
                for cell in cells:
                    out.write(cell)

        return by_streaming
    modules = {name: types.ModuleType(name) for name in ("streaming", "streaming.base", "streaming.base.format", "streaming.base.compression")}
    modules["streaming.base.format"].reader_from_json = lambda _folder, _split, about: StandInReader(about)
    modules["streaming.base.compression"].decompress = lambda _name, data: zlib.decompress(data)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return write_stand_in


@pytest.mark.parametrize("packed", [True, False])
def test_cells_come_back_as_they_were_written(write, tmp_path, packed):
    cells = make_cells()
    write(tmp_path / "train", cells, packed=packed)
    source = MdsCells(tmp_path / "train", VOCABULARY, {"<pad>": 0, "d1": 4})
    assert source.num_cells == len(cells)
    for start, stop in [(0, 23), (7, 15), (22, 23), (5, 5)]:
        found = source.read(start, stop)
        expected = np.zeros((stop - start, VOCABULARY.size), dtype=np.float32)
        for row, cell in enumerate(cells[start:stop]):
            expected[row, cell["genes"][1:].numpy()] = cell["expressions"][1:].numpy()
        np.testing.assert_array_equal(found.counts.toarray(), expected)
        assert found.drug_B.tolist() == [4 if number % 3 == 1 else 0 for number in range(start, stop)]
    assert len(np.unique(source.read(0, 23).key_B)) == 23
    np.testing.assert_array_equal(source.read(7, 9).key_B, source.read(0, 23).key_B[7:9])


def test_a_folder_feeds_the_stream(write, tmp_path):
    cells = make_cells()
    write(tmp_path / "train", cells)
    stream = TrainingStream([MdsCells(tmp_path / "train", VOCABULARY)], Collation(settings=CollatorSettings()), batch_cells=6, seed=0)
    batches = list(stream.steps(0, 8))
    lengths = [length for batch in batches for length in batch.lengths]
    assert len(lengths) == 48  # two epochs, and two cells more
    assert set(lengths) == {len(cell["genes"]) for cell in cells}


def test_damage_and_a_wrong_vocabulary_are_told(write, tmp_path):
    write(tmp_path / "train", make_cells())
    small = Vocabulary.from_genes(["ENSG00000000001"])
    big = VOCABULARY.gene_tokens.max()
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"expected an MDS folder with index\.json, found none that can be read"):
        MdsCells(tmp_path / "other", VOCABULARY)
    if small.size <= big:
        with pytest.raises(InputError, match=r"expected tokens below \d+, the size of the vocabulary"):
            MdsCells(tmp_path / "train", small).read(0, 23)
    shard = sorted((tmp_path / "train").glob("shard*"))[0]
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"Fetch the (folder|file) again"):
        MdsCells(tmp_path / "train", VOCABULARY).read(0, 23)


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refusing(name, *arguments, **options):
        if name.startswith("streaming"):
            raise ImportError("No module named 'streaming'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(InputError, match=r"read by mosaicml-streaming, which is not installed.*Install `mosaicml-streaming`"):
        MdsCells(tmp_path, VOCABULARY)
