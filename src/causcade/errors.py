"""Errors that are meant for a person: what was expected, what was found, where, and what to do.

Everything that a user can cause derives from :class:`CauscadeError`. The command line and the workflow print its
message as it is, without a traceback; any other exception is a defect of causcade and keeps its traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causcade.config import Config

__all__ = ["CauscadeError", "ConfigError", "InputError", "ResourceError", "ScreenError"]


class CauscadeError(Exception):
    """Base of all expected errors. The message is complete: it needs no traceback to be understood."""


def _listed(mistakes: list[str], where: str) -> str:
    """Mistakes as a numbered list with a heading."""
    head = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    lines = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(mistakes, start=1))
    return f"{head} in {where}:\n{lines}"


class ConfigError(CauscadeError):
    """The configuration is wrong.

    Parameters
    ----------
    mistakes
        One sentence for each mistake; all that were found, not only the first.
    where
        What holds the mistakes.
    rest
        The configuration without the values that are wrong, where there is one.
    wrong
        Keys of those values, such as `perturbation.control`.
    """

    def __init__(
        self, mistakes: list[str], where: str = "the configuration", *, rest: Config | None = None, wrong: frozenset[str] = frozenset()
    ) -> None:
        self.mistakes = mistakes
        self.rest = rest
        self.wrong = wrong
        super().__init__(_listed(mistakes, where))


class InputError(CauscadeError):
    """An input file holds something other than what the stage needs."""


class ScreenError(InputError):
    """The data as a whole are wrong; `mistakes` has one sentence for each mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__(_listed(mistakes, "the data"))


class ResourceError(CauscadeError):
    """A curated resource is missing, damaged, or not in its upstream format."""
