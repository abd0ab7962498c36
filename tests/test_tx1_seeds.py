import numpy as np

from causcade.tx1.seeds import generator_for, hashed, name_key


def test_hashes_are_those_of_splitmix64():
    # the first numbers of the published generator at seed 0
    assert [int(hashed(0)), int(hashed(0x9E3779B97F4A7C15))] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_hashes_are_distinct_uniform_and_broadcast():
    found = hashed(3, np.arange(50)[:, None], np.arange(40))
    assert found.shape == (50, 40)
    assert len(np.unique(found)) == 2000
    shares = np.histogram(found.astype(np.float64) / 2**64, bins=10, range=(0, 1))[0] / 2000
    np.testing.assert_allclose(shares, 0.1, atol=0.03)
    assert int(found[7, 9]) == int(hashed(3, 7, 9))
    assert int(hashed(1, 2)) != int(hashed(2, 1))


def test_names_give_the_same_numbers_everywhere():
    assert name_key("cell", "plate1") == 0x944DC90A904A21D6
    assert name_key("ab", "c") != name_key("a", "bc")
    assert generator_for("a", 1).integers(10**9) == generator_for("a", 1).integers(10**9)
