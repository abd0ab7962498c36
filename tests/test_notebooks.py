"""Notebooks in docs are executed, and show nothing of the machine that they ran on."""

import ast
import json
import re

import pytest
from conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["tx1.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_executed_from_top_to_bottom(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        ast.parse("".join(cell["source"]))
        assert [output["output_type"] for output in cell["outputs"] if output["output_type"] in ("error", "stream")] == []
    assert not re.search(r"/(home|root|tmp|Users|work|opt)/", json.dumps(cells))


def test_what_the_notebook_of_tx1_uses_is_exported():
    import causcade.tx1

    (path,) = NOTEBOOKS
    used = set(re.findall(r"causcade\.tx1\.(\w+)", path.read_text(encoding="utf-8")))
    assert used
    assert used <= set(causcade.tx1.__all__)
