"""Places of mistakes, and configurations without them."""

from causcade.config import Config
from causcade.config_mistakes import place_of, sentences_of, without


def test_names_of_union_members_are_no_part_of_a_place():
    value = {"a": {"b": [1, {"c": 2}]}}
    assert place_of(("a", "function-before[f(), X]", "b", 1, "str", "c"), value) == ("a", "b", 1, "c")
    assert place_of(("a", "b", 7), value) == ("a", "b")
    assert place_of((), value) == ()


def test_a_missing_key_is_named_or_its_section_is():
    value = {"a": {"b": 1}}
    assert place_of(("a", "x"), value) == ("a", "x")
    assert place_of(("a", "x"), value, is_missing=True) == ("a",)


def test_without_leaves_the_original_alone_and_removes_lists_as_a_whole():
    value = {"a": {"b": 1, "c": [1, 2]}, "d": 5}
    assert without(value, [("a", "c", 1), ("d",), ("nowhere",)]) == {"a": {"b": 1}}
    assert value == {"a": {"b": 1, "c": [1, 2]}, "d": 5}


def test_an_error_of_an_unknown_type_keeps_pydantics_words():
    error = {"loc": ("seed",), "type": "brand_new", "msg": "Input is odd", "input": 3}
    expected = "seed: expected another value (Input is odd), found 3. Correct the value; config/config.yaml says what it means."
    assert sentences_of([error], {"seed": 3}, Config) == [expected]
