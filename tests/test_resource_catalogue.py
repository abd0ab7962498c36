"""The catalogue of curated resources."""

from causcade.config import ResourceConfig, ResourcesConfig
from causcade.resource_catalogue import CATALOGUE, SIMULATED_FILES


def test_every_resource_is_simulated_and_configurable():
    in_use = [name for name, value in ResourcesConfig() if isinstance(value, ResourceConfig)]
    assert in_use == list(SIMULATED_FILES) == [name for name, entry in CATALOGUE.items() if not entry.is_optional]
    assert [name for name, field in ResourcesConfig.model_fields.items() if "ResourceConfig" in str(field.annotation)] == list(CATALOGUE)


def test_entries_are_complete():
    for name, entry in CATALOGUE.items():
        assert entry.url.startswith(("https://", "http://")), name
        assert entry.description.endswith("."), name
        assert entry.version, name
        assert entry.licence, name
        assert "/" not in entry.file_name, name


def test_no_two_files_share_a_name():
    for names in (list(SIMULATED_FILES.values()), [entry.file_name for entry in CATALOGUE.values()]):
        assert len(set(names)) == len(names)
