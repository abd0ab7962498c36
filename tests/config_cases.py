"""Configurations with mistakes."""

import pytest

from causcade.config import parse_config
from causcade.errors import ConfigError


def mistakes_of(value):
    """What is told of a configuration that has mistakes."""
    with pytest.raises(ConfigError) as caught:
        parse_config(value)
    return caught.value.mistakes
