"""Annotations of parameters: defaults and validators, named as in `slicer.parameterNodeWrapper`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass
class Default:
    """The value until another is set."""

    value: Any


@dataclasses.dataclass
class Decimals:
    """Decimals of a spin box or slider."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """Step of a spin box or slider."""

    value: float


class Choice:
    """One of the given values."""

    def __init__(self, choices: Sequence[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices}")


@dataclasses.dataclass
class Minimum:
    """At least this."""

    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Maximum:
    """At most this."""

    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclasses.dataclass
class WithinRange:
    """Between two values, both included."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


def find(annotations: Sequence[Any], kind: type) -> Any:
    """The first annotation of a kind, or None."""
    return next((each for each in annotations if isinstance(each, kind)), None)


def validate(annotations: Sequence[Any], value: Any) -> None:
    """Let every validator look at a value."""
    for each in annotations:
        if hasattr(each, "validate"):
            each.validate(value)
