import numpy as np
import pandas as pd
import pytest
from screens import make_screen

from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.responses import ScreenFiles, aggregate, hold_out_line, read_responses

SCREEN = make_screen()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    stores = {"conditions": SCREEN.conditions, "baselines": SCREEN.baselines}
    for name, plates in stores.items():
        for number, plate in enumerate(plates):
            write_anndata(folder / name / f"p{number}.zarr", plate)
    return [[str(path) for path in sorted((folder / name).iterdir())] for name in stores]


@pytest.fixture(scope="module")
def files(paths):
    return ScreenFiles(*paths, SCREEN.targets)


def same(found, expected):
    for name in ("effect_DG", "se_DG", "control_mean_G"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-7, err_msg=name)
    for name in ("sign_DG", "is_target_DG"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    pd.testing.assert_frame_equal(found.table, expected.table)
    pd.testing.assert_frame_equal(found.genes, expected.genes)


def test_plate_by_plate_equals_all_at_once(files, paths):
    same(files.effects(), aggregate(read_responses(*paths, SCREEN.targets)))


def test_the_order_of_the_paths_changes_nothing(files, paths):
    backwards = ScreenFiles(*(part[::-1] for part in paths), SCREEN.targets)
    np.testing.assert_array_equal(backwards.effects().effect_DG, files.effects().effect_DG)


def test_a_line_is_held_out_as_in_memory(files, paths):
    expected = hold_out_line(read_responses(*paths, SCREEN.targets), "A549")
    for found, part in zip(files.without_line("A549"), expected, strict=True):
        same(found, aggregate(part))


def test_responses_of_plates_are_those_of_all(files, paths):
    whole = read_responses(*paths, SCREEN.targets)
    plates = list(files.plates())
    np.testing.assert_allclose(np.concatenate([plate.delta_CG for plate in plates]), whole.delta_CG, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([plate.se_CG for plate in plates]), whole.se_CG, rtol=1e-5)
    pd.testing.assert_frame_equal(pd.concat([plate.obs for plate in plates], ignore_index=True), whole.obs)


def test_messages(files, paths):
    with pytest.raises(InputError, match=r"causal\.held_out_lines: expected one of several cell lines, found 'K562'"):
        files.without_line("K562")
    with pytest.raises(InputError, match="expected at least one plate, found none"):
        ScreenFiles([], [], SCREEN.targets)
    with pytest.raises(InputError, match="expected treated conditions with controls of the same cell line, found none"):
        ScreenFiles(paths[0], [], SCREEN.targets).effects()
