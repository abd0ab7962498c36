"""The numbers of docs/resources.md against the real files: parsed counts equal the known ones, or a rule says why not."""

import pytest
from conftest import REPOSITORY

from causcade.config import ResourcesConfig


def test_tables_go_between_their_marks(benchmark_of_resources):
    page = "a\n<!-- counts -->\nold\n<!-- end -->\nb\n<!-- accounts -->\n<!-- end -->\n"
    filled = benchmark_of_resources.fill_in(page, {"counts": "new", "accounts": "table"})
    assert filled == "a\n<!-- counts -->\nnew\n<!-- end -->\nb\n<!-- accounts -->\ntable\n<!-- end -->\n"
    assert benchmark_of_resources.fill_in(filled, {"counts": "new"}) == filled
    with pytest.raises(ValueError, match="expected the mark <!-- other --> in the page"):
        benchmark_of_resources.fill_in(page, {"other": ""})


@pytest.mark.shared_data
def test_real_counts_are_the_known_ones_and_the_page_shows_them(shared_data, benchmark_of_resources):
    counts = benchmark_of_resources.all_counts(shared_data / "references")
    unexplained = [(file, what, known, found) for file, what, known, found, rule in counts if known != found and not rule]
    assert not unexplained
    page = (REPOSITORY / "docs" / "resources.md").read_text(encoding="utf-8")
    assert benchmark_of_resources.counts_table(counts) in page, "run `python benchmarks/resources.py FOLDER`"


@pytest.mark.shared_data
def test_accounts_of_real_files_are_those_of_the_page(shared_data, benchmark_of_resources):
    accounts = benchmark_of_resources.account_of(shared_data / "references", ResourcesConfig())
    for name, entry in accounts.items():
        if "rows_read" in entry:
            assert entry["rows_read"] == entry["rows_kept"] + sum(entry["lost"].values()), name
    page = (REPOSITORY / "docs" / "resources.md").read_text(encoding="utf-8")
    assert benchmark_of_resources.accounts_table(accounts) in page, "run `python benchmarks/resources.py FOLDER`"
