"""Makes mutants of a module: copies that differ in one small thing, each a mistake that somebody could make.

Neither annotations nor docstrings are touched, nor the words of errors and log lines.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from copy import copy
from types import CodeType
from typing import Any, NamedTuple

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_NAMED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SHOWN = (ast.expr, ast.keyword, ast.Assign, ast.AnnAssign)  # what a part alone would not be recognised without
_UNTOUCHED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "bases", "type_ignores"})


class Mutant(NamedTuple):
    """A module with one change."""

    name: str
    """Where and what, without line numbers, so that it survives edits elsewhere: `Box.open: a < b → a <= b`."""
    code: CodeType


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, always in the same order and under the same names."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for scope, whole, parent, field, at, node in [*_places(tree, "", tree)]:
        shown = whole if isinstance(node, ast.Constant | ast.Slice) and isinstance(whole, _SHOWN) else node
        for replacement in _replacements(node):
            before = _text(shown)
            _put(parent, field, at, ast.copy_location(replacement, node))
            name = f"{scope or 'module'}: {before} → {_text(replacement if shown is node else shown)}"
            seen[name] += 1
            if seen[name] > 1:
                name += f" ({seen[name]})"
            yield Mutant(name, compile(ast.fix_missing_locations(tree), filename, "exec"))
            _put(parent, field, at, node)


def _places(
    node: ast.AST, scope: str, whole: ast.AST
) -> Iterator[tuple[str, ast.AST, ast.AST, str, int | None, ast.AST]]:
    """Yield (scope, whole, parent, field, index, node) of everything that may be changed.

    `whole` is the parent, or what it is the slice of.
    """
    if isinstance(node, ast.Raise) or _is_log_line(node):
        return
    if not isinstance(node, ast.Slice):
        whole = node
    for field, value in ast.iter_fields(node):
        if field in _UNTOUCHED_FIELDS:
            continue
        for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_words(child):
                continue
            yield scope, whole, node, field, at, child
            inner = f"{scope}.{child.name}".lstrip(".") if isinstance(child, ast.FunctionDef | ast.ClassDef) else scope
            yield from _places(child, inner, whole)


def _is_log_line(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")


def _is_words(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.FunctionDef):
        return node.name == "__repr__"
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"


def _put(parent: ast.AST, field: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[at] = node


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())


def _changed(node: Any, **fields: Any) -> Any:
    other = copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node may be mistaken for."""
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as text):
            yield ast.Constant(text + "x")
        case ast.Constant(value=bytes() as data):
            yield ast.Constant(data + b"x")
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                yield _changed(node, ops=[*ops[:at], _COMPARED[type(op)](), *ops[at + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield _changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for at in range(len(values)):
                rest = values[:at] + values[at + 1 :]
                yield rest[0] if len(rest) == 1 else _changed(node, values=rest)
        case ast.BinOp(op=op) if type(op) in _CALCULATED:
            yield _changed(node, op=_CALCULATED[type(op)]())
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield _changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Call(func=ast.Name(id=name)) if name in _NAMED:
            yield _changed(node, func=ast.Name(_NAMED[name], ast.Load()))
        case ast.comprehension(ifs=ifs):
            for at in range(len(ifs)):
                yield _changed(node, ifs=ifs[:at] + ifs[at + 1 :])
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield _changed(node, lower=None)
            if upper is not None:
                yield _changed(node, upper=None)
        case ast.Return(value=value) if value is not None and _text(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()
        case ast.Expr(value=ast.Call() as call) if not _is_log_line(call):
            yield ast.Pass()
