"""The numbers of docs/resources.md against the real files: parsed counts equal the known ones, or a rule says why not."""

import importlib.util

import pytest
from conftest import REPOSITORY

from causcade.config import ResourcesConfig


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("benchmark_of_resources", REPOSITORY / "benchmarks" / "resources.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_go_between_their_marks(benchmark_module):
    page = "a\n<!-- counts -->\nold\n<!-- end -->\nb\n<!-- accounts -->\n<!-- end -->\n"
    filled = benchmark_module.fill_in(page, {"counts": "new", "accounts": "table"})
    assert filled == "a\n<!-- counts -->\nnew\n<!-- end -->\nb\n<!-- accounts -->\ntable\n<!-- end -->\n"
    assert benchmark_module.fill_in(filled, {"counts": "new"}) == filled
    with pytest.raises(ValueError, match="expected the mark <!-- other --> in the page"):
        benchmark_module.fill_in(page, {"other": ""})


@pytest.mark.shared_data
def test_real_counts_are_the_known_ones_and_the_page_shows_them(shared_data, benchmark_module):
    counts = benchmark_module.all_counts(shared_data / "references")
    unexplained = [(file, what, known, found) for file, what, known, found, rule in counts if known != found and not rule]
    assert not unexplained
    page = (REPOSITORY / "docs" / "resources.md").read_text(encoding="utf-8")
    assert benchmark_module.counts_table(counts) in page, "run `python benchmarks/resources.py FOLDER`"


@pytest.mark.shared_data
def test_accounts_of_real_files_are_those_of_the_page(shared_data, benchmark_module):
    accounts = benchmark_module.account_of(shared_data / "references", ResourcesConfig())
    for name, entry in accounts.items():
        if "rows_read" in entry:
            assert entry["rows_read"] == entry["rows_kept"] + sum(entry["lost"].values()), name
    page = (REPOSITORY / "docs" / "resources.md").read_text(encoding="utf-8")
    assert benchmark_module.accounts_table(accounts) in page, "run `python benchmarks/resources.py FOLDER`"
