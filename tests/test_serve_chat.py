"""`tlc serve` without HTTP: OpenAI's chat, which keeps what was said in the program's cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import GREEDY, MODEL, Answer, answer, ask, built, generator
from tests.test_generation import LLAMA2, continued
from tests.tiny_llama import written
from tlc.runtime.tokenizer import load_tokenizer
from tlc.runtime.tokenizer.tokenizer import Stream, Tokenizer
from tlc.serving.asgi import App
from tlc.serving.openai_api import Limits
from tlc.serving.server import application, template_of

CHAT = "/v1/chat/completions"
COLD = {"temperature": 0, "max_tokens": 4}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "llama2.jinja").write_text(LLAMA2)
    found = generator(built(folder, "chat"))
    template = template_of(found, str(folder / "llama2.jinja"))
    app = application(found, "tiny", Limits(), template)
    yield app
    app.close()


def reply(app: App, *turns: str, **more: object) -> Answer:
    """The answer to a conversation of turns, of the user and the assistant by turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    return asyncio.run(ask(app, CHAT, {**COLD, "messages": messages, **more}))


def test_a_conversation_is_what_the_network_says(chat: App) -> None:
    tokenizer = load_tokenizer(str(MODEL))
    ids = tokenizer.encode("<s>[INST] more [/INST]", around=False)
    said = continued(ids, 4)
    first = reply(chat, "more")
    assert first.json["object"] == "chat.completion"
    message = {"role": "assistant", "content": tokenizer.decode(said)}
    assert first.json["choices"][0]["message"] == message
    assert first.json["usage"]["prompt_tokens"] == len(ids)
    # what is new goes behind what the cache holds, so the tokens are those of each turn alone
    ids += said + tokenizer.encode(" </s><s>[INST] we said [/INST]", around=False)
    second = reply(chat, "more", message["content"], "we said")
    said = continued(ids, 4)
    wanted = "".join(map(Stream(tokenizer).feed, said))
    assert second.json["choices"][0]["message"]["content"] == wanted
    assert second.json["usage"]["prompt_tokens"] == len(ids)


def test_a_conversation_streams(chat: App) -> None:
    whole = reply(chat, "more").json["choices"][0]["message"]["content"]
    first, *pieces, last = reply(chat, "more", stream=True).events
    assert {event["object"] for event in (first, *pieces, last)} == {"chat.completion.chunk"}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == whole
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")


def test_only_what_is_new_is_read(chat: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tokens that the program is given for each request."""
    read: list[str] = []
    encode = Tokenizer.encode

    def watched(self: Tokenizer, text: str, around: bool = True) -> list[int]:
        read.append(text)
        return encode(self, text, around)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    talk = ["more"]
    for turn in ("we said", "and"):
        talk += [reply(chat, *talk).json["choices"][0]["message"]["content"], turn]
    assert read == ["[INST] more [/INST]", " </s><s>[INST] we said [/INST]"]
    reply(chat, "more", "/Cp x", "we said", max_tokens=2)  # an argument that is read in the loop
    reply(chat, "more", seed=3)
    reply(chat, "more", "/Cp x", "we said", seed=3)
    assert read[2:] == [
        "[INST] more [/INST]/Cp x </s><s>[INST] we said [/INST]",
        "[INST] more [/INST]",
        "[INST] more [/INST]/Cp x </s><s>[INST] we said [/INST]",
    ]


def test_conversations_by_turns_do_not_mix(chat: App) -> None:
    alone = [reply(chat, turn).json["choices"][0]["message"] for turn in ("more", "now")]
    for _ in range(2):
        for turn, wanted in zip(("more", "now"), alone, strict=True):
            assert reply(chat, turn).json["choices"][0]["message"] == wanted
    another = reply(chat, "more", "/Cp x", "we said", temperature=1.9, seed=5).json
    assert (
        reply(chat, "more", "/Cp x", "we said", temperature=1.9, seed=5).json["choices"]
        == (another["choices"])
    )


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "`messages` is a list of at least one message"),
        ([], "`messages` is a list of at least one message"),
        ([1], "`messages[0]` is no object"),
        ([{"role": "tool", "content": "a"}], "the role of `messages[0]` is one of"),
        ([{"role": "user"}], "`messages[0]` has no text as its content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "`messages[0]` holds something else than text",
        ),
        ([{"role": "user", "content": "x" * 200}], "tokens, and the model reads 128"),
    ],
)
def test_messages_that_cannot_be_answered(chat: App, messages: object, message: str) -> None:
    found = asyncio.run(ask(chat, CHAT, {"messages": messages}))
    assert found.status == 400
    assert message in found.message


def test_the_content_of_a_message_may_be_parts_of_text(chat: App) -> None:
    content = [{"type": "text", "text": "mo"}, {"type": "text", "text": "re"}]
    found = asyncio.run(
        ask(chat, CHAT, {**COLD, "messages": [{"role": "user", "content": content}]})
    )
    assert found.json["choices"] == reply(chat, "more").json["choices"]


def test_a_model_without_a_template_has_completions_only(tmp_path: Path) -> None:
    app = application(generator(built(tmp_path, "chat")), "tiny", Limits())
    found = reply(app, "more")
    assert (found.status, found.json["error"]["code"]) == (400, "E0608")
    assert "the model file has no chat template" in found.message
    assert answer(app, GREEDY).status == 200
    app.close()


def test_an_artifact_that_holds_its_weights_knows_its_template_and_context(tmp_path: Path) -> None:
    text = "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]"
    model = written(tmp_path / "model.gguf", template=text)
    (tmp_path / "built").mkdir()
    artifact = built(tmp_path / "built", "chat", model, embed_weights=True)
    model.unlink()
    found = generator(artifact)
    assert found.context == 128
    app = application(found, "tiny", Limits())
    wanted = continued(load_tokenizer(str(MODEL)).encode("[INST] more [/INST]"), 4)
    message = reply(app, "more").json["choices"][0]["message"]
    assert message["content"] == load_tokenizer(str(MODEL)).decode(wanted)
    app.close()
