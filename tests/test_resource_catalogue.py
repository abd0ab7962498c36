"""The catalogue of curated resources."""

from causcade.config import ResourceConfig, ResourcesConfig
from causcade.resource_catalogue import CATALOGUE, SIMULATED_FILES


def test_every_resource_is_simulated_and_configurable():
    configurable = [name for name, value in ResourcesConfig() if isinstance(value, ResourceConfig)]
    assert list(CATALOGUE) == list(SIMULATED_FILES) == configurable


def test_entries_are_complete():
    for name, entry in CATALOGUE.items():
        assert entry.url.startswith(("https://", "http://")), name
        assert entry.description.endswith("."), name
        assert entry.version, name
        assert entry.licence, name
        assert "/" not in entry.file_name, name


def test_no_two_files_share_a_name():
    for names in (SIMULATED_FILES.values(), [entry.file_name for entry in CATALOGUE.values()]):
        assert len(set(names)) == len(CATALOGUE)
