"""Source text in, the syntax tree and every syntax error out.

PLY builds the table from `grammar.py` and runs it; this is the only module that knows PLY's yacc.
The table is kept in the user's cache folder, and a parse shares nothing with another but the table.
"""

from __future__ import annotations

import marshal
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ply import yacc

from tlc.frontend import ast, cache, syntax_errors
from tlc.frontend.brackets import TooDeep, balance
from tlc.frontend.checks import check
from tlc.frontend.diagnostics import Diagnostic
from tlc.frontend.filter import CLOSERS, OPENERS, arrange
from tlc.frontend.grammar import PRECEDENCE, RULES
from tlc.frontend.lexer import MOST_ERRORS, Token, scan
from tlc.frontend.source import Source, Span


def tokenize(source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens as the parser gets them, and what is wrong with characters and brackets."""
    tokens, _, problems = _tokens(source)
    return tokens, problems


def parse(source: Source) -> tuple[ast.Program, list[Diagnostic]]:
    """The tree of a program, and its errors in the order of the text.

    Never raises, whatever the text. Lines with errors are missing from the tree.
    """
    tokens, depths, problems = _tokens(source)
    program = _Parse(source, tokens, depths, problems).run()
    nested = check(program)
    if any(problem.code == "E0102" for problem in nested):
        program = ast.Program(program.span, ())
    problems += nested
    problems.sort(key=lambda problem: problem.span.start if problem.span else 0)
    return program, problems


def _tokens(source: Source) -> tuple[list[Token], list[int], list[Diagnostic]]:
    raw, problems = scan(source)
    try:
        balanced, unbalanced = balance(raw)
    except TooDeep as stop:
        return [], [], [*problems, stop.diagnostic]
    # what an open string or comment has swallowed may well have held the missing bracket
    lines = {problem.span.line for problem in problems if problem.span}
    if not any(problem.span and problem.span.text == "/*" for problem in problems):
        problems += [p for p in unbalanced if p.span and p.span.line not in lines]
    return *arrange(balanced), problems


# ---- one parse --------------------------------------------------------------------------------


class _Symbol:
    """A terminal as PLY wants it: `type` drives the table, `value` goes to the rule's function."""

    __slots__ = ("at", "lexer", "type", "value")

    def __init__(self, at: int, token: Token) -> None:
        self.at = at
        self.type = token.kind
        self.value = token


class _TooManyErrors(Exception):
    pass


class _Parse:
    """A parse under way: PLY's parser, the tokens, and the place in them."""

    def __init__(
        self, source: Source, tokens: list[Token], depths: list[int], problems: list[Diagnostic]
    ) -> None:
        self.whole = Span(source, 0, len(source.text))
        # PLY recovers badly when it has read nothing: hence a first token that is always right
        self.tokens = [Token("START", "", self.whole), *tokens]
        self.depths = [0, *depths]
        self.problems = problems
        self.known = {problem.span.line for problem in problems if problem.span}
        self.reported = 0
        self.at = 0
        self.table = table()
        self.parser = yacc.LRParser(self.table, self.recover)
        self.parser.defaulted_states = self.table.defaulted

    def run(self) -> ast.Program:
        try:
            program = self.parser.parse(lexer=self, tokenfunc=self.token)
        except _TooManyErrors:
            program = None
        return program if isinstance(program, ast.Program) else ast.Program(self.whole, ())

    def token(self) -> _Symbol | None:
        if self.at == len(self.tokens):
            return None
        self.at += 1
        return _Symbol(self.at - 1, self.tokens[self.at - 1])

    def recover(self, symbol: _Symbol) -> None:
        """Report an error and go on at the end of the line, or of the body the line begins.

        PLY then drops what it has read of the line up to the rule `... error NEWLINE`.
        """
        tokens, depths, at = self.tokens, self.depths, symbol.at
        depth = self.body_depth()
        start = at
        while depths[start - 1] > depth or (
            depths[start - 1] == depth and tokens[start - 1].kind != "NEWLINE"
        ):
            start -= 1
        end = at
        while tokens[end].kind != "NEWLINE" or depths[end] != depth:
            end += 1
        self.at = max(at + 1, end)
        lines = range(tokens[start].span.line, symbol.value.span.line + 1)
        if self.known.isdisjoint(lines):
            line = tokens[start:at]
            self.problems.append(syntax_errors.explain(line, symbol.value, self.expected()))
            self.reported += 1
            if self.reported == MOST_ERRORS:
                raise _TooManyErrors

    def body_depth(self) -> int:
        """The depth of the innermost body that is being read: a line of it has the error."""
        stack = self.parser.statestack
        top = len(stack) - 1
        while "error" not in self.table.lr_action[stack[top]]:
            top -= 1
        read = [symbol.type for symbol in self.parser.symstack[: top + 1]]
        return 1 + sum(kind in OPENERS for kind in read) - sum(kind in CLOSERS for kind in read)

    def expected(self) -> frozenset[str]:
        """The kinds of tokens that may stand where the error is."""
        kinds = self.table.lr_action[self.parser.statestack[-1]]
        return frozenset(kind for kind in kinds if kind != "error" and self.shifts(kind))

    def shifts(self, kind: str) -> bool:
        """Whether the parser takes the token, and does not only reduce before it fails."""
        stack = list(self.parser.statestack)
        while (action := self.table.lr_action[stack[-1]].get(kind)) is not None:
            if action >= 0:
                return True
            rule = self.table.lr_productions[-action]
            if rule.len:
                del stack[-rule.len :]
            stack.append(self.table.lr_goto[stack[-1]][rule.name])
        return False


# ---- the table --------------------------------------------------------------------------------


class Table:
    """The LALR(1) table under the names that PLY's `LRParser` looks for."""

    def __init__(
        self, actions: Any, gotos: Any, rules: list[tuple[str, str, int]], conflicts: list[Any]
    ) -> None:
        self.lr_action: dict[int, dict[str, int | None]] = actions
        self.lr_goto: dict[int, dict[str, int]] = gotos
        self.conflicts = conflicts
        self.lr_productions = [yacc.MiniProduction(*rule, None, "", 0) for rule in rules]
        for rule, (symbols, build) in zip(self.lr_productions[1:], alternatives(), strict=True):
            rule.callable = _reduction(build, "error" in symbols)
        # A rule that is certain is reduced before the next token is looked at. Without this an
        # error after the `}` of a block would send the recovery back into the block.
        self.defaulted: dict[int, int] = {}
        for state, row in self.lr_action.items():
            action, *others = set(row.values())  # None where an operator must not be repeated
            if not others and action and action < 0 and self.lr_productions[-action].len:
                self.defaulted[state] = action


def _reduction(build: Callable[..., Any], recovers: bool) -> Callable[[Any], None]:
    def reduce(rule: Any) -> None:
        symbols = rule.slice
        symbols[0].value = build(*[symbol.value for symbol in symbols[1:]])

    def reduce_error(rule: Any) -> None:
        reduce(rule)
        rule.parser.errok()  # earlier, PLY would report the same error over and over

    return reduce_error if recovers else reduce


def alternatives() -> list[tuple[list[str], Callable[..., Any]]]:
    """The rules one by one: the name, its symbols with quotes as written, and the function."""
    found = []
    for text, build in RULES:
        name, _, right = text.partition(" : ")
        symbols = [name]
        for symbol in [*right.split(), "|"]:
            if symbol == "|":
                found.append((symbols, build))
                symbols = [name]
            else:
                symbols.append(symbol)
    return found


def build_table() -> Table:
    """The table from the grammar; takes about a second."""
    spelled: dict[str, str] = {}

    def plain(symbol: str) -> str:
        """A name that PLY accepts for a symbol."""
        if not symbol.startswith("'"):
            return symbol
        name = f"sign-{symbol.encode().hex()}"
        spelled[name] = symbol[1:-1]
        return name

    rows = [[plain(symbol) for symbol in symbols] for symbols, _ in alternatives()]
    names = {row[0] for row in rows}
    terminals = {symbol for row in rows for symbol in row} - names - {"error", "%prec", "UNARY"}
    grammar = yacc.Grammar(sorted(terminals))
    for level, (side, symbols) in enumerate(PRECEDENCE, 1):
        for symbol in symbols.split():
            grammar.set_precedence(plain(symbol), side, level)
    for name, *row in rows:
        grammar.add_production(name, row)
    grammar.set_start(rows[0][0])
    built = yacc.LRGeneratedTable(grammar, "LALR", yacc.NullLogger())
    actions = {
        state: {spelled.get(kind, kind): action for kind, action in row.items()}
        for state, row in built.lr_action.items()
    }
    rules = [(str(rule), rule.name, rule.len) for rule in built.lr_productions]
    return Table(actions, built.lr_goto, rules, built.sr_conflicts + built.rr_conflicts)


_lock = threading.Lock()
_table: Table | None = None


def table() -> Table:
    """The table, from memory, the cache folder or the grammar."""
    global _table
    with _lock:
        if _table is None:
            _table = _load_table()
        return _table


def _load_table() -> Table:
    about = (sys.version, yacc.__version__, PRECEDENCE, [text for text, _ in RULES])
    name = f"grammar-{sha256(repr(about).encode()).hexdigest()[:32]}"
    kept = cache.load(name)
    if kept is not None:
        try:
            actions, gotos, rules = marshal.loads(kept)
            return Table(actions, gotos, rules, [])
        except (EOFError, ValueError, TypeError, AttributeError, LookupError):
            pass
    built = build_table()
    rules = [(rule.str, rule.name, rule.len) for rule in built.lr_productions]
    cache.store(name, marshal.dumps((built.lr_action, built.lr_goto, rules)))
    return built
