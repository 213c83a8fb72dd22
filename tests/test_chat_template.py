"""Chat templates: what models' templates write, and what no template may do."""

from __future__ import annotations

import time
from pathlib import Path

import gguf
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.serving import MODEL
from tlc.runtime.errors import RunError
from tlc.runtime.model_file import open_model
from tlc.runtime.tokenizer import load_tokenizer
from tlc.serving.chat_template import ChatTemplate, chat_template

TALK = [
    {"role": "system", "content": "Be  brief. "},
    {"role": "user", "content": "<b>1</b> & 2\n"},
    {"role": "assistant", "content": "é"},
    {"role": "user", "content": "more"},
]
# the ways in which templates of models are written
CHATML = """{% for message in messages %}
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
TURNS = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{%- set first = messages[0].content | trim + '\\n\\n' %}{%- set rest = messages[1:] %}
{%- else %}{%- set first = '' %}{%- set rest = messages %}{%- endif %}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must alternate") }}
    {%- endif -%}
    {%- set role = 'model' if message.role == 'assistant' else message.role -%}
    {{ '<start_of_turn>' ~ role ~ '\\n' ~ (first if loop.first else '') }}
    {{- message.content | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}"""
TOOLS = """{%- set ns = namespace(count=0, text="") %}
{%- if tools is not none and tools %}{{ tools | tojson }}{% endif %}
{%- for message in messages if message.role in ["user", "assistant"] %}
{%- set ns.count = ns.count + 1 %}{%- set ns.text = ns.text + message.content.strip() %}
{%- if loop.last %}{% break %}{% endif %}
{%- endfor %}{{ ns.count }} {{ ns.text.split("1")[-1] }} {{ messages | length }}
{% generation %}{{ messages|selectattr("role", "equalto", "user")|list|length }}{% endgeneration %}
{%- macro turn(text) %}[{{ text|upper|replace("B", "b") }}]{% endmacro %}{{ turn(ns.text) }}"""


@pytest.mark.parametrize("text", [CHATML, TURNS, TOOLS])
def test_templates_write_what_jinja_alone_writes(text: str) -> None:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    bare = text.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    given = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    wanted = environment.from_string(bare).render(messages=TALK, tools=None, **given)
    assert ChatTemplate(text, "<s>", "</s>")(TALK) == wanted


def test_the_token_that_begins_a_text_is_not_there_twice() -> None:
    text = "{{ bos_token }}a{{ bos_token }}b"
    assert ChatTemplate(text, "<s>", "</s>")(TALK) == "<s>a<s>b"
    assert ChatTemplate(text, "<s>", "</s>", begun=True)(TALK) == "a<s>b"


def test_a_model_file_brings_its_template_and_the_names_of_its_tokens(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(MODEL))
    metadata = dict(open_model(str(MODEL)).metadata)
    with pytest.raises(RunError, match="the model file has no chat template"):
        chat_template(metadata, tokenizer)
    text = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    metadata["tokenizer.chat_template"] = text
    assert chat_template(metadata, tokenizer)(TALK[1:2]) == "<b>1</b> & 2\n</s>"
    (tmp_path / "other.jinja").write_text("{{ messages | length }}")
    assert chat_template(metadata, tokenizer, str(tmp_path / "other.jinja"))(TALK) == "4"
    with pytest.raises(RunError, match="gone cannot be read as a chat template"):
        chat_template(metadata, tokenizer, str(tmp_path / "gone"))


def test_the_token_that_ends_a_turn_is_known_by_its_name(tmp_path: Path) -> None:
    def eot(*words: str, said: int = -1) -> int:
        path = tmp_path / "v.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        tokens = ["<unk>", "<s>", "</s>", *words]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0] * len(tokens))
        writer.add_token_types([2, 3, 3, *(3 for _ in words)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        if said >= 0:
            writer.add_eot_token_id(said)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return load_tokenizer(str(path)).eot

    assert eot("<|x|>") == 2
    assert eot("<|x|>", "<end_of_turn>") == 4
    assert eot("<|x|>", "<|im_end|>", said=3) == 3


# a template, and what is said of it
HOSTILE = [
    ("{{", "in line 1: unexpected 'end of template'"),
    ("{{" + "(" * 500 + "1" + ")" * 500 + "}}", "maximum recursion depth exceeded"),
    ("{{ raise_exception('no system here') }}", "no system here"),
    ("{{ messages[9].role }}", "list object has no element 9"),
    ("{{ nothing.x }}", "'nothing' is undefined"),
    ("{{ messages[0].content + 1 }}", "can only concatenate str"),
    # out of the sandbox
    ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ("{{ messages.__init__.__globals__ }}", "access to attribute '__init__'"),
    ("{{ namespace.__init__.__globals__ }}", "access to attribute '__init__'"),
    ("{{ range.__self__.made }}", "access to attribute '__self__'"),
    ("{{ messages.append(1) }}", "access to attribute 'append'"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{{ lipsum(99) }}", "'lipsum' is undefined"),
    ("{{ '{0.__class__}'.format(1) }}", "it formats"),
    # without an end
    ("{% for i in range(9**9) %}{% endfor %}", "it computes a power"),
    ("{% for i in range(9999999999) %}{% endfor %}", "it makes too much text"),
    ("{% set r = range(9999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}", "steps"),
    ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "maximum recursion depth exceeded"),
    ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
     "it takes too many steps"),
    # too large
    ("{{ 'a' * 9999999999 }}", "it makes too much text"),
    ("{{ [1] * 9999999999 }}", "it makes too much text"),
    ("{{ 'a'|center(9999999999) }}", "No filter named 'center'"),
    ("{{ 'a'.ljust(9999999999) }}", "it calls `ljust`"),
    ("{{ '%9999999999d' % 1 }}", "it formats with %"),
    ("{{ ('a' * 9999).replace('a', 'b' * 9999) }}", "it makes too much text"),
    ("{{ ('a' * 9999)|list|join('b' * 9999) }}", "it makes too much text"),
    ("{% set s = 'a' * 99999 %}{% for i in range(9999) %}{{ s }}{% endfor %}", "too much text"),
    *(
        (f"{{% set n = namespace(x={first}) %}}{{% for i in range(99) %}}{{% set n.x = {step} %}}"
         "{% endfor %}{{ n.x|tojson }}", said)
        for first, step, said in (
            ("'ab'", "n.x ~ n.x", "it makes too much text"),
            ("'ab'", "n.x + n.x", "it makes too much text"),
            ("[1]", "n.x + n.x", "it makes too much text"),
            ("99", "n.x * n.x", "numbers of more than 64 bits"),
            ("[1]", "[n.x, n.x]", "it takes too many steps"),
        )
    ),
    *(
        ("{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}"
         f"{{% set n.b = [n.b, n.b] %}}{{% endfor %}}{{{{ {compared} }}}}", "too many steps")
        for compared in (
            "n.a == n.b", "n.a in [n.b]", "n.a is eq n.b", "[n.a]|select('eq', n.b)|first",
            "[n.a].index(n.b)",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), HOSTILE)
def test_a_template_that_does_harm_is_an_error(text: str, said: str) -> None:
    begun = time.process_time()
    with pytest.raises(RunError, match="the chat template fails") as found:
        ChatTemplate(text)(TALK)
    assert said in found.value.message
    assert found.value.code == "E0608"
    assert time.process_time() - begun < 10, "seconds at most, not as long as it likes"
