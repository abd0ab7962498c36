"""Messages of expected errors."""

import pytest

from causcade.errors import CauscadeError, ConfigError, InputError, ResourceError, ScreenError


def test_all_mistakes_are_numbered():
    error = ConfigError(["a: expected x, found y. Do z.", "b: unknown key. Remove it."])
    assert str(error) == "2 mistakes in the configuration:\n  1. a: expected x, found y. Do z.\n  2. b: unknown key. Remove it."
    assert error.mistakes == ["a: expected x, found y. Do z.", "b: unknown key. Remove it."]


def test_one_mistake_is_singular_and_names_its_place():
    assert str(ConfigError(["a."], where="the data")) == "1 mistake in the data:\n  1. a."


@pytest.mark.parametrize("kind", [InputError, ResourceError])
def test_every_expected_error_has_one_base(kind):
    assert issubclass(kind, CauscadeError)
    assert issubclass(ConfigError, CauscadeError)
    assert str(kind("where: expected X, found Y. Do W.")) == "where: expected X, found Y. Do W."


def test_mistakes_of_a_screen_are_numbered_too():
    error = ScreenError(["a.", "b."])
    assert isinstance(error, InputError)
    assert error.mistakes == ["a.", "b."]
    assert str(error) == "2 mistakes in the data:\n  1. a.\n  2. b."
