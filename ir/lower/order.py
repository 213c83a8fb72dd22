"""The statements of a file's top level to the order they run in: a `tensor` declaration that is
read further up runs before what reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tlc.frontend import ast
from tlc.ir.lower.assignment import assigned
from tlc.ir.lower.control.regions import assigned_inside

Top = ast.Stmt | ast.TensorDecl


def in_order(top: Sequence[Top], functions: Mapping[str, Iterable[ast.Fn]]) -> list[Top]:
    """The statements, with a declaration before the first statement that reads it.

    It stays in its place when its value needs what a statement computes. `functions` has the
    bodies that a name may call.
    """
    late = [at for at, node in enumerate(top) if isinstance(node, ast.TensorDecl)]
    if not late:
        return list(top)
    given = Counter(name for node in top for name in assigned(node))
    reads = [_names(node, functions) for node in top]
    places = {name: at for at in late for name in assigned(top[at]) if given[name] == 1}
    while True:  # what needs a statement's value is not free to move, nor what needs that
        free = {n: at for n, at in places.items() if reads[at] & given.keys() <= places.keys()}
        if free == places:
            break
        places = free
    found: list[Top] = []
    done: set[int] = set()

    def take(at: int) -> None:
        if at not in done:
            done.add(at)
            for place in sorted(places[name] for name in reads[at] & places.keys()):
                take(place)
            found.append(top[at])

    for at in range(len(top)):
        take(at)
    return found


def _names(node: ast.Node, functions: Mapping[str, Iterable[ast.Fn]]) -> set[str]:
    """The names that a statement reads, in the functions that it calls as well."""
    found, used = _used(node)
    called: set[int] = set()  # ids: a tree is hashed slowly
    waiting = [fn for name in used for fn in functions.get(name, ())]
    while waiting:
        fn = waiting.pop()
        if id(fn) not in called:
            called.add(id(fn))
            inside, used = _used(fn.body)
            own = {p.name for p in fn.params} | set(assigned_inside([fn.body]))
            found |= inside - own
            waiting += [inner for name in used for inner in functions.get(name, ())]
    return found


def _used(node: ast.Node) -> tuple[set[str], set[str]]:
    """The names that stand in a node, and these together with what it may call."""
    names: set[str] = set()
    callable: set[str] = set()
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        waiting += inner.children()
        match inner:
            case ast.Name(id=name):
                names.add(name)
            case ast.Attribute(name=name):
                callable.add(name)
            case ast.Path(parts=parts):
                callable.add(parts[-1])
    return names, names | callable
