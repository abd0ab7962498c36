"""What the readers of all formats share."""

import gzip
from pathlib import Path

import pytest

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.readers.opened import numbered_cells, opening, refuse_layer


@pytest.mark.parametrize("error", [OSError("bad\nworse"), KeyError("x"), ValueError("bad."), EOFError(), gzip.BadGzipFile("bad")])
def test_what_libraries_raise_on_damage_becomes_one_sentence(error):
    with pytest.raises(InputError) as told, opening(Path("f"), "a file"):
        raise error
    said = {EOFError: "EOFError", KeyError: "'x'"}.get(type(error), "bad")
    expected = f"f: expected a file, found a file that is damaged, truncated or of another kind ({said}). Copy it again, or write it again."
    assert str(told.value) == expected


@pytest.mark.parametrize("error", [InputError("mine"), AttributeError("a defect"), TypeError("a defect")])
def test_everything_else_is_raised_as_it_is(error):
    with pytest.raises(type(error), match=str(error)), opening(Path("f"), "a file"):
        raise error


def test_layers():
    refuse_layer(Path("f"), InputConfig(), "10x h5")
    with pytest.raises(InputError) as error:
        refuse_layer(Path("f"), InputConfig(layer="raw"), "10x h5")
    assert str(error.value) == "f: expected no layer (input.layer) for 10x h5, found 'raw'. Write `input: {layer: null}`."


@pytest.mark.parametrize("num", [0, 1, 3])
def test_cells_without_names(num):
    obs = numbered_cells(num)
    assert obs.index.tolist() == [str(number) for number in range(num)]
    assert obs.shape == (num, 0)
