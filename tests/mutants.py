"""The faults that tests.mutation makes: each changes one expression or statement of a module."""

import ast
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

# What stands in the place of what: an expression or a statement, and its new text.
Change = tuple[ast.expr | ast.stmt, str]

_COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_OTHERS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "reversed": "list"}
# Methods that narrow what a statement of SQL does, or does to a text: without them it is wider.
_LEFT_OUT = {"where", "with_for_update", "order_by", "limit", "join", "strip", "lower", "replace", "astimezone"}


@dataclass(frozen=True)
class Mutant:
    """A module with one fault: the line that it is in, what stood there and what stands there now, and all of it."""

    line: int
    before: str
    after: str
    source: bytes


def mutants_of(source: bytes) -> list[Mutant]:
    """Make every fault that we know of in a module, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for node in _walk(ast.parse(source)):
        for place, text in _changes(node):
            begin = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or place.lineno) - 1] + (place.end_col_offset or 0)
            mutated = source[:begin] + text.encode() + source[end:]
            if _is_valid(mutated):
                before, after = (" ".join(one.split()) for one in (source[begin:end].decode(), text))
                found[mutated] = Mutant(place.lineno, before, after, mutated)
    return sorted(found.values(), key=lambda one: (one.line, one.before, one.after))


def _is_valid(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _walk(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk what can be mutated: no annotations and decorators, and nothing inside f-strings.

    Of what is inside an f-string, Python 3.11 does not know the place in the source.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list"):
                inner = value if isinstance(value, list) else [value]
                stack += [one for one in inner if isinstance(one, ast.AST) and not isinstance(one, ast.JoinedStr)]


def _changes(node: ast.AST) -> Iterator[Change]:
    """Yield the faults of one node."""
    match node:
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.For() | ast.comprehension():
            yield node.iter, f"list({ast.unparse(node.iter)})[:1]"
        case ast.ExceptHandler():
            yield from ((one, "raise") for one in node.body[:1] if len(node.body) == 1)
        case ast.Return() if node.value and ast.unparse(node.value) != "None":
            yield node, "return None"
        case ast.Raise() | ast.AugAssign() | ast.Break() | ast.Continue() | ast.Delete():
            yield node, "pass"
        case ast.Expr() if not isinstance(node.value, ast.Constant):
            yield node, "pass"
        case ast.Assign() if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            yield node, "pass"
        case ast.expr():
            yield from ((node, _in_brackets(text)) for text in _EXPRESSIONS.get(type(node), _nothing)(node))
        case _:
            pass


def _in_brackets(text: str) -> str:
    # It may stand inside a longer expression, where it would bind otherwise.
    return text if text.isidentifier() or text.isdigit() or text.endswith(")") else f"({text})"


def _nothing(_node: Any) -> Iterator[str]:
    return iter(())


def _compare(node: ast.Compare) -> Iterator[str]:
    for place, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])


def _operator(node: ast.BinOp) -> Iterator[str]:
    if type(node.op) in _OPERATORS:
        yield _with(node, op=_OPERATORS[type(node.op)]())


def _boolean(node: ast.BoolOp) -> Iterator[str]:
    yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for place in range(len(node.values)):
        rest = node.values[:place] + node.values[place + 1 :]
        yield _with(node, values=rest) if len(rest) > 1 else ast.unparse(rest[0])


def _unary(node: ast.UnaryOp) -> Iterator[str]:
    if not isinstance(node.operand, ast.Constant):
        yield ast.unparse(node.operand)


def _constant(node: ast.Constant) -> Iterator[str]:
    match node.value:
        case bool():
            yield str(not node.value)
        case int() | float():
            yield from (str(node.value + 1), str(node.value - 1))
        case _:
            pass


def _call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in _OTHERS:
        yield _with(node, func=ast.Name(_OTHERS[name]))
    if isinstance(node.func, ast.Attribute) and node.func.attr in _LEFT_OUT:
        yield ast.unparse(node.func.value)
    for place in range(len(node.keywords)):
        yield _with(node, keywords=node.keywords[:place] + node.keywords[place + 1 :])
    if len(node.args) > 1:
        for place in range(len(node.args)):
            yield _with(node, args=node.args[:place] + node.args[place + 1 :])


def _with(node: ast.expr, **changed: Any) -> str:
    """Write a node with other parts."""
    other = copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return ast.unparse(other)


_EXPRESSIONS: dict[type[ast.expr], Callable[[Any], Iterator[str]]] = {
    ast.Compare: _compare,
    ast.BinOp: _operator,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.Constant: _constant,
    ast.Call: _call,
}
