import sys
import types
from pathlib import Path

import pytest

from causcade.errors import InputError
from causcade.tx1.hub import DRUG_FILE, REQUIRED, find_folder


def make_folder(path, names=REQUIRED):
    path.mkdir(parents=True)
    for name in names:
        (path / name).touch()
    return path


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that hands out `tmp_path`, or raises what it is told to; it keeps what it was asked."""
    state = types.SimpleNamespace(folder=tmp_path / "cache", error=None, asked=[])

    def snapshot_download(repository, allow_patterns):
        state.asked.append((repository, allow_patterns))
        if state.error:
            raise state.error
        return str(state.folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return state


def test_folder(tmp_path):
    folder = make_folder(tmp_path / "mine")
    assert find_folder(folder) == (folder, "mine")
    assert find_folder(str(folder)) == (folder, "mine")


@pytest.mark.parametrize(("asked", "there"), [("70m", "70m"), ("1b", "1.3b"), ("1.3b", "1b"), ("1b", "1b")])
def test_sizes_side_by_side(tmp_path, asked, there):
    make_folder(tmp_path / "3b-model")
    assert find_folder(tmp_path, asked if make_folder(tmp_path / f"{there}-model") else None)[0].name == f"{there}-model"


def test_size_that_is_not_there(tmp_path):
    make_folder(tmp_path / "3b-model")
    make_folder(tmp_path / "70m-model")
    with pytest.raises(InputError, match=r"found several sizes: 3b, 70m. Say which"):
        find_folder(tmp_path)
    with pytest.raises(InputError, match=r"expected a folder 1b-model or 1.3b-model, found 3b, 70m"):
        find_folder(tmp_path, "1b")
    with pytest.raises(InputError, match=r"found one model. Leave the size '1b' out"):
        find_folder(tmp_path / "3b-model", "1b")


@pytest.mark.parametrize("missing", REQUIRED)
def test_half_a_folder(tmp_path, missing):
    folder = make_folder(tmp_path / "mine", [name for name in REQUIRED if name != missing])
    with pytest.raises(InputError, match=f"found no {missing}. Copy the whole folder"):
        find_folder(folder)


@pytest.mark.parametrize(
    ("name", "message"), [("best-model.pt", "may run code"), ("model.safetensors.index.json", "several files are not supported")]
)
def test_weights_of_another_kind(tmp_path, name, message):
    with pytest.raises(InputError, match=f"found no model.safetensors. .*{message}"):
        find_folder(make_folder(tmp_path / "mine", [*REQUIRED[1:], name]))


def test_a_file(tmp_path):
    folder = make_folder(tmp_path / "mine", ["best-model.pt", "model.safetensors"])
    with pytest.raises(InputError, match=r"found a pickled checkpoint, which may run code"):
        find_folder(folder / "best-model.pt")
    with pytest.raises(InputError, match=r"found a file. Give the published folder"):
        find_folder(folder / "model.safetensors")


@pytest.mark.parametrize("where", ["/not/there/at/all", "./owner/name", "name", Path("owner/name")])
def test_no_folder_and_no_name(where):
    with pytest.raises(InputError, match=r"found no such folder. Correct the path"):
        find_folder(where)


def test_repository_with_sizes(hub):
    folder = make_folder(hub.folder / "1.3b-model")
    assert find_folder("owner/name:1b") == (folder, "name-1b")
    assert find_folder("owner/name", "1b") == (folder, "name-1b")
    repository, patterns = hub.asked[0]
    assert repository == "owner/name"
    assert set(patterns) == {f"{size}-model/{file}" for size in ("1b", "1.3b") for file in (*REQUIRED, DRUG_FILE)}


def test_repository_of_one_model(hub):
    make_folder(hub.folder)
    assert find_folder("owner/name") == (hub.folder, "name")
    assert hub.asked == [("owner/name", [*REQUIRED, DRUG_FILE])]


def test_repository_without_the_files(hub):
    hub.folder.mkdir()
    with pytest.raises(InputError, match=r"owner/name on the hub: expected model.safetensors"):
        find_folder("owner/name")


def test_two_sizes():
    with pytest.raises(InputError, match="expected one size, found 70m in the name and 3b beside it"):
        find_folder("owner/name:70m", "3b")


@pytest.mark.parametrize("error", [ConnectionError("Name or service not known\nmore"), ValueError("Name or service not known"), OSError()])
def test_no_network(hub, error):
    hub.error = error
    what = "Name or service not known" if error.args else "OSError"
    with pytest.raises(InputError, match=rf"no answer from the hub \({what}\). Check the name and the network, or download the folder"):
        find_folder("owner/name:70m")


def test_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"huggingface_hub is needed and is not installed. Install it \(pip install huggingface_hub\)"):
        find_folder("owner/name:70m")
