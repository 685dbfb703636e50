"""The law of every configuration: each of its fields changes a result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    """One field of a configuration, and a small computation that it must change."""

    outcome: Callable[[Any], Any]
    """Configuration → numbers, texts, arrays or tuples of these; the same for the same one."""
    base: Any
    changes: Mapping[str, Any]
    """The field's other value; with others where they belong together."""


def cases(
    base: Any, outcome: Callable[[Any], Any], values: Mapping[str, Any], **also: Any
) -> dict[str, Case]:
    """A case for each field, from one base and its other values; `also` changes the base."""
    base = replace(base, **also)
    return {
        name: Case(outcome=outcome, base=base, changes={name: value})
        for name, value in values.items()
    }


def check_fields(config: type, table: Mapping[str, Case]) -> None:
    """Fail if a field is not in the table; `check_case` does the rest."""
    names = {field.name for field in fields(config)}
    assert names == set(table), f"{config.__name__}: fields and cases differ"


def check_case(name: str, case: Case) -> None:
    """The same configuration gives the same outcome, another value of the field another one."""
    other = replace(case.base, **case.changes)
    assert getattr(other, name) != getattr(case.base, name), "the value is another one"
    before = case.outcome(case.base)
    assert is_same(before, case.outcome(case.base)), "the outcome depends on nothing else"
    assert not is_same(before, case.outcome(other)), f"{name} changes nothing"


def is_same(a: Any, b: Any) -> bool:
    """Whether two outcomes are equal in every number."""
    if isinstance(a, torch.Tensor | np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(is_same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return bool(a == b)
