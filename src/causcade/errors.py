"""Errors that are meant for a person: what was expected, what was found, where, and what to do.

Everything that a user can cause derives from :class:`CauscadeError`. The command line and the workflow print its
message as it is, without a traceback; any other exception is a defect of causcade and keeps its traceback.
"""

__all__ = ["CauscadeError", "ConfigError", "InputError", "ResourceError"]


class CauscadeError(Exception):
    """Base of all expected errors. The message is complete: it needs no traceback to be understood."""


class ConfigError(CauscadeError):
    """The configuration is wrong.

    Parameters
    ----------
    mistakes
        One sentence for each mistake; all that were found, not only the first.
    where
        What holds the mistakes.
    """

    def __init__(self, mistakes: list[str], where: str = "the configuration") -> None:
        self.mistakes = mistakes
        head = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(mistakes, start=1))
        super().__init__(f"{head} in {where}:\n{lines}")


class InputError(CauscadeError):
    """An input file holds something other than what the stage needs."""


class ResourceError(CauscadeError):
    """A curated resource is missing, damaged, or not in its upstream format."""
