"""Builtins about tokens: `load_tokenizer`, texts to token ids, and token ids to texts."""

from __future__ import annotations

from tlc.frontend import ast
from tlc.ir.core import Value
from tlc.ir.dims import Dim
from tlc.ir.lower import indexing, reading
from tlc.ir.lower.arguments import Argument
from tlc.ir.lower.builtins.table import special
from tlc.ir.lower.context import Context, where
from tlc.ir.lower.control.handed import is_count
from tlc.ir.lower.texts import as_text
from tlc.ir.lower.values import Model, ModelProblem, Text, Tokenizer, describe, tell, whole


@special("load_tokenizer", "path: any")
def _load_tokenizer(cx: Context, node: ast.Call, path: Argument) -> Tokenizer:
    """The tokenizer that a model file holds; a loaded model stands for its file."""
    name = path.value.path if isinstance(path.value, Model) else path.value
    if not isinstance(name, str):
        text = "the path of a tokenizer is a string known at build, and this is "
        cx.fail("E0304", text + describe(name), path.span)
    model = cx.model(name, "f16", path.span)
    assert cx.program.open_tokenizer is not None
    try:
        return Tokenizer(model.index, name, cx.program.open_tokenizer(name, path.span))
    except ModelProblem as problem:
        cx.fail(problem.code, problem.message, path.span, hint=problem.hint)


def _tokenizer(cx: Context, arg: Argument) -> Tokenizer:
    if not isinstance(arg.value, Tokenizer):
        hint = "`load_tokenizer(path)` gives one"
        text = f"a Tokenizer is needed, and this is {describe(arg.value)}"
        cx.fail("E0302", text, arg.span, hint=hint)
    return arg.value


@special("tokenize", "tok: any, text: any, add_bos: any = true")
def _tokenize(
    cx: Context, node: ast.Call, tok: Argument, text: Argument, add_bos: Argument | None
) -> Value:
    """The token ids of a text, a tensor whose length the run knows."""
    found = _tokenizer(cx, tok)
    if not isinstance(text.value, str | Text):
        cx.fail("E0302", f"a text is needed, and this is {describe(text.value)}", text.span)
    around = True if add_bos is None else add_bos.value
    if add_bos is not None and not isinstance(around, bool):
        cx.fail("E0304", "`add_bos` is true or false, known at build", add_bos.span)
    given = as_text(cx, text.value, text.span)
    symbol = cx.program.new_symbol()
    cx.program.natural.add(symbol)  # the number of tokens
    return cx.emit(
        "tokenize",
        model=found.index,
        text=given.dim,
        around=around,
        place=where(node.span),
        symbol=symbol,
        span=node.span,
    )


@special("detokenize", "tok: any, ids: any")
def _detokenize(cx: Context, node: ast.Call, tok: Argument, ids: Argument) -> Text:
    """The text of token ids."""
    found = _tokenizer(cx, tok)
    numbers = indexing.index_tensor(cx, ids.value, ids.span)
    if numbers is None or numbers.tensor.dtype != "i32":
        text = f"token ids are a list of whole numbers, and this is {describe(ids.value)}"
        cx.fail("E0302", text, ids.span)
    symbol = cx.program.new_symbol()
    cx.builder.span = node.span
    cx.builder.append(
        "detokenize", numbers, model=found.index, place=where(node.span), symbol=symbol
    )
    return Text(Dim.of(symbol))


@special("detokenize_incremental", "tok: any, token: any")
def _detokenize_incremental(cx: Context, node: ast.Call, tok: Argument, token: Argument) -> Text:
    """The characters that are whole with one more token."""
    found, value = _tokenizer(cx, tok), token.value
    number = reading.on_host(cx, value, token.span) if is_count(value) else whole(value)
    if not isinstance(number, int | Dim):
        cx.fail("E0302", f"a token is a whole number, and this is {tell(value)}", token.span)
    symbol = cx.program.new_symbol()
    cx.builder.span = node.span
    cx.builder.append(
        "detokenize_next",
        token=Dim.of(number),
        model=found.index,
        place=where(node.span),
        symbol=symbol,
    )
    return Text(Dim.of(symbol))
