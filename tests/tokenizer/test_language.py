"""What programs say of tokens wrongly, at build and at run time."""

import contextlib
import io
from pathlib import Path

import pytest

import tlc
from tlc import driver
from tlc.frontend.diagnostics import CompileError
from tlc.runtime.errors import RunError

DATA = Path(__file__).parent.parent / "data"
SETUP = f'tok = load_tokenizer("{DATA}/tiny_llama_f16.gguf")\n'


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('load_tokenizer("none.gguf")', "E0601", "there is no such file"),
        (f'load_tokenizer("{DATA}/mlp_f16.safetensors")', "E0607", "holds no vocabulary"),
        ("load_tokenizer(3)", "E0304", "the path of a tokenizer is a string known at build"),
        ('tokenize("a", tok)', "E0302", "a Tokenizer is needed, and this is string"),
        ("tokenize(tok, 3)", "E0302", "a text is needed, and this is int"),
        ('tokenize(tok, "a", add_bos: 1)', "E0304", "`add_bos` is true or false"),
        ("detokenize(tok, ones([2]) * 0.5)", "E0302", "token ids are a list of whole numbers"),
        ('detokenize(tok, "a")', "E0302", "token ids are a list of whole numbers"),
        ("detokenize_incremental(tok, 0.5)", "E0302", "a token is a whole number"),
        ("tok.begin", "E0204", "Tokenizer has no member `begin`"),
        ("fn f(t: Tokenizer) -> int { 1 }\nf(1)", "E0302", "must be Tokenizer, and this is 1"),
    ],
)
def test_mistakes_at_build(text: str, code: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        driver.build("p.tl", text=f"{SETUP}{text}\n")
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("call", ["detokenize(tok, [5, 320])", "detokenize_incremental(tok, 320)"])
def test_a_token_that_there_is_not_stops_the_run(device: str, call: str) -> None:
    program = tlc.compile("p.tl", text=f"{SETUP}print({call})\n", device=device)
    message = "p.tl:2: there is no token 320: the vocabulary has 320"
    with pytest.raises(RunError, match=message), contextlib.redirect_stdout(io.StringIO()):
        program.main()
