"""Which edits change the digest of a stage."""

import re
from pathlib import Path

import pytest

from causcade import code_digest as module
from causcade.code_digest import INFRASTRUCTURE, code_digest, modules_of

SOURCES = {
    "stage.py": '"""The stage."""\nfrom causcade.middle import thing\n\n\ndef run():\n    """Run."""\n    return thing() + 1  # add\n',
    "middle.py": "def thing():\n    from causcade import deep\n\n    return deep.VALUE\n",
    "deep.py": "import causcade.package.inner\n\nVALUE = 3\n",
    "package/__init__.py": "",
    "package/inner.py": "from causcade.files import read_json\n\nNAME = 'x'\n",
    "package/other.py": "OTHER = 1\n",
    "package/asset.js": "let x = 1;\n",
    "page.py": "from causcade.package import other\n",
    "files.py": "from causcade.unrelated import x\n",
    "unrelated.py": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own in the place of causcade; returns a function that edits a file."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    module._parsed.cache_clear()

    def edit(name, old="", new=""):
        text = (tmp_path / name).read_text() if (tmp_path / name).exists() else ""
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new) if old else text + new)
        module._parsed.cache_clear()

    yield edit
    module._parsed.cache_clear()


def test_modules_behind_a_stage_are_found_through_all_imports(package):
    assert modules_of("stage") == ["deep", "middle", "package.inner", "stage"]
    assert modules_of("page") == ["package", "page"]
    assert modules_of("unrelated") == ["unrelated"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "  # add", "  # something else"), ("stage.py", "Run.", "Run it twice."), ("stage.py", '"""The stage."""\n', ""),
        ("stage.py", "\n\n\n", "\n\n\n\n"), ("stage.py", "thing() + 1", "(thing() + 1)"), ("deep.py", "", "# a comment\n"),
        ("unrelated.py", "1", "2"), ("files.py", "", "y = 1\n"), ("package/other.py", "1", "2"), ("package/asset.js", "1", "2"),
    ],
)  # fmt: skip
def test_edits_that_change_nothing(package, name, old, new):
    before = code_digest("stage")
    package(name, old, new)
    assert code_digest("stage") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "+ 1", "+ 2"), ("middle.py", "deep.VALUE", "-deep.VALUE"), ("deep.py", "3", "4"), ("package/inner.py", "'x'", "'y'"),
        ("stage.py", "thing() + 1", "thing() + 1.0"),
    ],
)  # fmt: skip
def test_edits_that_change_the_code(package, name, old, new):
    before, other = code_digest("stage"), code_digest("unrelated")
    package(name, old, new)
    assert code_digest("stage") != before
    assert code_digest("unrelated") == other


@pytest.mark.parametrize(("name", "new"), [("package/asset.js", "let y;"), ("package/other.py", "x = 1\n"), ("package/new.py", "x = 1\n")])
def test_every_file_of_a_package_counts(package, name, new):
    before = code_digest("page")
    package(name, new=new)
    assert code_digest("page") != before


@pytest.mark.parametrize("name", ["package/.#inner.py", "package/inner.py~", "package/__pycache__/inner.pyc"])
def test_leftovers_of_editors_do_not_count(package, tmp_path, name):
    before = code_digest("page")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    assert code_digest("page") == before


def test_several_stages_in_any_order(package):
    assert code_digest("stage", "page") == code_digest("page", "stage")
    assert code_digest("stage", "page") != code_digest("stage")
    assert re.fullmatch("[0-9a-f]{16}", code_digest("stage"))


def test_a_stage_that_is_not_there():
    with pytest.raises(KeyError, match="no module of causcade is named 'nowhere'"):
        modules_of("nowhere")


def test_infrastructure_is_there_and_behind_no_stage():
    package = Path(module.__file__).parent
    assert all((package / f"{name}.py").is_file() or (package / name / "__init__.py").is_file() for name in INFRASTRUCTURE)
    for stage in ("checks", "quality", "panel"):
        assert not set(modules_of(stage)) & INFRASTRUCTURE
    assert {"quality", "labels", "readers", "cells"} <= set(modules_of("checks"))
