"""Pydantic's errors about a configuration as sentences for a person: where, what was expected, what was found, what to do."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from causcade.config_input import types_of

__all__ = ["place_of", "sentences_of", "without"]

EXPECTED = {
    "model": "keys and values",
    "dict": "keys and values",
    "mapping": "keys and values",
    "list": "a list, such as [a, b]",
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "finite": "a finite number",
}
"""What to call the types of pydantic's errors (`int_parsing`, `list_type`) to a person."""

MAX_SHOWN = 80


def _holds(value: object, part: str | int) -> bool:
    """Whether a mapping has this key, or a list this position."""
    return part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int) and part < len(value)


def place_of(loc: Sequence[str | int], value: Any, *, is_missing: bool = False) -> tuple[str | int, ...]:
    """Keys of an error's place, without the names that pydantic adds for the members of a union.

    Parameters
    ----------
    loc
        Pydantic's place.
    value
        The configuration that was validated.
    is_missing
        Give the section that lacks a key, not the key.
    """
    place: list[str | int] = []
    for part in loc:
        if _holds(value, part):
            value = value[part]
        elif is_missing or not (isinstance(value, Mapping) and part is loc[-1]):
            continue
        place.append(part)
    return tuple(place)


def _keys_at(place: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    """Keys that the section at `place` knows."""
    section = model
    for part in place:
        field = section.model_fields.get(str(part))
        found = [kind for kind in types_of(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)] if field else []
        if not found:
            return []
        section = found[0]
    return list(section.model_fields)


def _expected(error: Mapping[str, Any]) -> str:
    """Say what a value should have been, in a person's words where there are some, else in pydantic's."""
    kind, context = str(error["type"]), error.get("ctx", {})
    match kind:
        case "greater_than_equal":
            return f"a number of at least {context['ge']:g}"
        case "greater_than":
            return f"a number above {context['gt']:g}"
        case "less_than_equal":
            return f"a number of at most {context['le']:g}"
        case "less_than":
            return f"a number below {context['lt']:g}"
        case "literal_error":
            return str(context["expected"])
        case "string_pattern_mismatch":
            return f"a text of the form {context['pattern']}"
        case "too_short":
            return f"at least {context['min_length']} item(s)"
        case "string_too_short":
            return f"at least {context['min_length']} character(s)"
    return EXPECTED.get(kind.split("_")[0]) or f"another value ({error['msg']})"


def sentences_of(errors: Sequence[Mapping[str, Any]], value: object, model: type[BaseModel]) -> list[str]:
    """Pydantic's errors as sentences, one for each place: where, expected, found, what to do."""
    by_place: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        by_place.setdefault(place_of(error["loc"], value), []).append(error)
    sentences: list[str] = []
    for place, found in by_place.items():
        where = ".".join(map(str, place)) or "the configuration"
        said = [argument for error in found if error["type"] == "value_error" for argument in error["ctx"]["error"].args]
        if said:
            sentences.extend(f"{where}: {text}." if place else f"{text}." for text in said)
        elif found[0]["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(place[-1]), _keys_at(place[:-1], model), n=1)
            guess = f"Did you mean `{near[0]}`?" if near else "Remove it, or correct its spelling;"
            sentences.append(f"{where}: unknown key. {guess} config/config.yaml lists every key.")
        elif found[0]["type"] == "missing":
            sentences.append(f"{where}: expected a value, found none. Add the key.")
        else:
            shown = "null" if found[0]["input"] is None else repr(found[0]["input"])
            shown = shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "..."
            expected = " or ".join(dict.fromkeys(_expected(error) for error in found))
            sentences.append(f"{where}: expected {expected}, found {shown}. Correct the value; config/config.yaml says what it means.")
    return sentences


def without(value: Mapping[str, Any], places: Iterable[tuple[str | int, ...]]) -> dict[str, Any]:
    """Return a copy of a configuration without the values at some places (a list goes as a whole)."""
    result = copy.deepcopy(dict(value))
    for place in places:
        section: dict[Any, Any] = result
        for part in place[:-1]:
            if not isinstance(section.get(part), dict):
                section.pop(part, None)
                break
            section = section[part]
        else:
            section.pop(place[-1], None)
    return result
