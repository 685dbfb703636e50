"""YAML of strangers: plain values and tuples; whatever names another Python object is refused."""

import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from idhand.files import existing_file

MAX_BYTES = 1_000_000
"""Files of calibration have a few hundred."""
MAX_ALIASES = 10
"""Each can repeat all that was before it, so that few make a file endless."""
MAX_DEPTH = 50
"""Of brackets."""
TUPLE_TAG = "tag:yaml.org,2002:python/tuple"
"""How PyYAML writes a Python tuple."""


class PlainLoader(yaml.SafeLoader):
    """Plain values, and hardly any aliases, which such files have no use for."""

    num_aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML's, counting aliases."""
        self.num_aliases += self.check_event(yaml.AliasEvent)
        if self.num_aliases > MAX_ALIASES:
            raise ValueError(f"it has more than {MAX_ALIASES} YAML aliases")
        return super().compose_node(parent, index)


def check_nesting(text: str) -> None:
    """Refuse lists of lists of lists before the parser, which would need minutes to find out.

    Raises:
        RecursionError: If they are deeper than any file of cameras.
    """
    depths = accumulate(1 if char in "[{" else -1 for char in re.findall(r"[][{}]", text))
    if max(depths, default=0) > MAX_DEPTH:
        raise RecursionError("it is nested too deeply")


class _Loader(PlainLoader):
    """Tuples, too."""


def _tuple(loader: yaml.SafeLoader, node: Any) -> Any:
    return tuple(loader.construct_sequence(node))


_Loader.add_constructor(TUPLE_TAG, _tuple)


def read_yaml(path: Path, remedy: str) -> Mapping[str, Any]:
    """Names and values of a YAML file.

    Args:
        path: The file.
        remedy: What to do if it cannot be used, e.g. "unpack it again".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is too large, no YAML of names and values, or names Python objects.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; {remedy}")
    data = existing_file(path).read_bytes()
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} has {len(data):,} bytes, too many for such a file; {remedy}")
    try:
        text = data.decode("utf-8")
        check_nesting(text)
        values = yaml.load(text, Loader=_Loader)
    except yaml.constructor.ConstructorError as error:
        tag = str(error.problem).removeprefix("could not determine a constructor for the tag ")
        raise ValueError(
            f"{path} names a Python object ({tag}), which is never loaded; {remedy}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not readable as YAML ({reason}); {remedy}") from None
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} holds no names with values; {remedy}")
    return values
