"""The changes that `tools/mutants.py` makes: every place in a file where an operator applies.

Operators come from mutmut (swapped operators and keywords, dropped arguments and cases, forced
branches). Left out are those that any call would notice (None for a value) and those that often
change nothing (`<` for `<=` between real numbers, other words in a message). Comparisons are
negated instead; numbers move by at least one and large ones double; some functions are swapped for
their siblings (`sin` for `cos`, `min` for `max`).
"""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

TYPES = m.Name("Float") | m.Name("Int") | m.Name("Bool") | m.Name("UInt8") | m.Name("Literal")
SKIPPED_CALLS = m.Name("len") | m.Name("isinstance") | m.Name("cast")
SKIPPED_KEYWORDS = frozenset({"strict", "device", "indent", "stacklevel", "memory_format"})
"""Arguments that guard against our own mistakes, or that a test on a CPU cannot see."""
SIBLINGS = {"sin": "cos", "cos": "sin", "min": "max", "max": "min", "amin": "amax", "amax": "amin"}
SIBLINGS |= {"sum": "mean", "mean": "sum", "any": "all", "all": "any"}
SIBLINGS |= {"clamp_min": "clamp_max", "clamp_max": "clamp_min", "minimum": "maximum"}
SIBLINGS |= {"maximum": "minimum", "argmin": "argmax", "argmax": "argmin", "floor": "ceil"}
SIBLINGS |= {"ceil": "floor", "ones_like": "zeros_like", "zeros_like": "ones_like"}
SIBLINGS |= {"ones": "zeros", "zeros": "ones", "exp": "log", "log": "exp"}
NEGATED = {
    cst.LessThan: cst.GreaterThanEqual,
    cst.LessThanEqual: cst.GreaterThan,
    cst.GreaterThan: cst.LessThanEqual,
    cst.GreaterThanEqual: cst.LessThan,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One mutant of one file."""

    path: Path
    line: int
    label: str
    """File, function and the changed code."""
    node: cst.CSTNode
    replacement: cst.CSTNode

    def source(self) -> str:
        """The whole file with the change."""
        module = _parsed(self.path).module
        changed = module.deep_replace(self.node, self.replacement)
        assert isinstance(changed, cst.Module)
        return changed.code

    def diff(self) -> str:
        """The changed lines."""
        before, after = (s.splitlines() for s in (self.path.read_text(), self.source()))
        lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
        return "\n".join(lines)

    def is_different(self) -> bool:
        """Whether it is Python, and another program."""
        try:
            return ast.dump(ast.parse(self.source())) != ast.dump(ast.parse(self.path.read_text()))
        except SyntaxError:
            return False


@cache
def _parsed(path: Path) -> MetadataWrapper:
    return MetadataWrapper(cst.parse_module(path.read_text()), unsafe_skip_copy=True)


def changes_of(path: Path, root: Path) -> list[Change]:
    """Every change of a file, labelled relative to the root."""
    wrapper = _parsed(path)
    places = _Places()
    wrapper.visit(places)
    lines = path.read_text().splitlines()
    found, seen = [], {}
    for node, replacement, where, function in places.found:
        before, after = (wrapper.module.code_for_node(n) for n in (node, replacement))
        line = lines[where.start.line - 1]
        if line[where.start.column : where.end.column] == before:
            rest = (line[: where.start.column].lstrip(), line[where.end.column :])
            before, after = (rest[0] + code + rest[1] for code in (before, after))
        label = f"{path.relative_to(root)} {function}: {_shortened(before, after)}"
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            label += f" #{seen[label]}"
        found.append(
            Change(
                path=path,
                line=where.start.line,
                label=label,
                node=node,
                replacement=replacement,
            )
        )
    return found


def _shortened(before: str, after: str) -> str:
    """The two on one line, without the long part that they share at either end."""
    before, after = (" ".join(code.split()) for code in (before, after))
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    low, high = max(start - 25, 0), max(end - 25, 0)
    parts = [s[low : len(s) - high] for s in (before, after)]
    return " → ".join(f"{'…' * (low > 0)}{p}{'…' * (high > 0)}" for p in parts)


def mutations(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The operators' replacements of one node."""
    match node:
        case cst.Integer() | cst.Float():
            value = node.evaluated_value
            step = (
                abs(value) if abs(value) >= 100 or (isinstance(value, float) and value > 1) else 1
            )
            yield node.with_changes(value=repr(value + step))
        case cst.SimpleString():
            if " " not in node.value:
                yield from list(mutators.operator_string(node))[:1]
        case cst.Name():
            yield from mutators.operator_name(node)
        case cst.Call():
            yield from _dropped_arguments(node)
            yield from mutators.operator_unsymmetrical_string_methods_swap(node)
        case cst.ComparisonTarget() if type(node.operator) in NEGATED:
            yield node.with_changes(operator=NEGATED[type(node.operator)]())
        case cst.AugAssign():
            yield from mutators.operator_augmented_assignment(node)
            yield from mutators.operator_swap_op(node)
        case cst.Match():
            yield from mutators.operator_match(node)
        case cst.IfExp():
            yield from mutators.operator_if_exp(node)
        case cst.Attribute() if node.attr.value in ("mT", "T"):
            yield node.value
        case cst.Attribute() if node.attr.value in SIBLINGS:
            yield node.with_changes(attr=cst.Name(SIBLINGS[node.attr.value]))
        case _:
            if isinstance(node, cst.UnaryOperation):
                yield from mutators.operator_remove_unary_ops(node)
            yield from mutators.operator_keywords(node)
            yield from mutators.operator_swap_op(node)


def _dropped_arguments(node: cst.Call) -> Iterator[cst.Call]:
    """Calls without one of their named arguments.

    Not of constructors, and no positional ones: most are required, so that any call would notice.
    """
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    if isinstance(name, cst.Name) and name.value[:1].isupper():
        return
    for i, arg in enumerate(node.args):
        if arg.keyword and arg.keyword.value not in SKIPPED_KEYWORDS and len(node.args) > 1:
            yield node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])


class _Places(cst.CSTVisitor):
    """Collects changes; leaves out types, decorators, docstrings, messages and contracts."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, CodeRange, str]] = []
        self._scopes: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._is_skipped(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._scopes.append(node.name.value)
        for replacement in mutations(node):
            where = self.get_metadata(PositionProvider, node)
            assert isinstance(where, CodeRange)
            scope = ".".join(self._scopes) or "module"
            self.found.append((node, replacement, where, scope))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._scopes.pop()

    def _is_skipped(self, node: cst.CSTNode) -> bool:
        match node:
            case cst.Annotation() | cst.Decorator() | cst.Raise() | cst.Assert():
                return True
            case cst.Import() | cst.ImportFrom() | cst.FormattedString():
                return True
            case cst.ConcatenatedString():  # a message over two lines
                return True
            case cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString()):
                return True
            case cst.Arg(keyword=cst.Name(value=name)):
                return name in SKIPPED_KEYWORDS
            case cst.If(test=cst.Name(value="TYPE_CHECKING")):
                return True
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value="__all__"))]):
                return True
            case cst.Subscript():
                return m.matches(node.value, TYPES)
            case cst.Call():
                return m.matches(node.func, SKIPPED_CALLS)
            case _:
                return False
