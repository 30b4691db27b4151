"""Chat templates: what transformers renders is rendered, whatever else a template does is one error of the request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ttfamily.chat import render
from ttfamily.chat_process import TemplateProcess
from ttfamily.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN, END = "<s>", "</s>"
TALK = [
    {"role": "system", "content": "Be brief & kind.\n"},
    {"role": "user", "content": "Was heißt \U0001f600?", "name": "Zoë"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "  Go\n on </s> ", "tool_calls": [{"name": "f", "arguments": {"x": [1, 2.5, True]}}]},
]

# Written for this test, after the habits of the published ones: one for each thing a template may use.
LIKE_PUBLISHED = {
    "chatml": (
        "{%- for m in messages %}\n<|im_start|>{{ m.role }}\n    {% if m.content %}{{ m.content | trim }}{% endif %}\n"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "headers": (
        "{{- bos_token }}{% set loop_messages = messages %}{% if messages[0]['role'] == 'system' %}"
        "{% set system = messages[0]['content'] %}{% set loop_messages = messages[1:] %}{% endif %}"
        "{% for m in loop_messages %}{{ '<|' + m['role'] + '|>\\n\\n' + m['content'] + eos_token }}{% endfor %}"
        "{{ system }}"
    ),
    "namespace": (
        "{% set ns = namespace(first=true, n=0) %}{% for m in messages %}"
        "{% if m.role == 'assistant' %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m.content }}"
        "{% if ns.n > 1 %}{% break %}{% endif %}{% endfor %}"
    ),
    "json": (
        "{% for m in messages %}{{ m | tojson }}{{ m.get('tool_calls') | tojson(indent=2) }}"
        "{{ m | tojson(true, sort_keys=true) }}{% endfor %}"
    ),
    "generation": (
        "{% for m in messages %}{% set x = 1 %}{% generation %}{% set x = 2 %}{{ m.content }}{{ x }}{% endgeneration %}"
        "{{ x }}{% endfor %}"
    ),
    "macros": (
        "{% macro show(m, n=0) %}{{ m.role ~ n }}{% if n < 2 %}{{ show(m, n + 1) }}{% endif %}{% endmacro %}"
        "{% for m in messages %}{{ show(m) }}{% endfor %}"
        "{{ dict(a=1, **{'b': 2}) }}{{ dict.fromkeys('ab', 0) | tojson }}{{ '%s' | format(3) }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}"
    ),
    "absent": (
        "{{ tools is none }}{{ documents is none }}{{ nothing is defined }}{{ messages[0].nothing }}"
        "{{ strftime_now('%Y') }}"
    ),
}


class Chat:
    """A tokenizer with a template, and a process whose limits a test can reach in time."""

    def __init__(self) -> None:
        raw = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))  # noqa: S106 -- no password
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=BEGIN, eos_token=END)
        self.process = TemplateProcess(seconds=1, memory=2**29, characters=100_000)

    def __call__(self, template: Any, messages: Any = TALK) -> str:
        self.tokenizer.chat_template = template
        return render(self.tokenizer, messages, self.process)


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.process.close()


def refused(pattern: str) -> Any:
    return pytest.raises(RequestError, match=pattern)


@pytest.mark.parametrize("name", LIKE_PUBLISHED)
def test_a_template_renders_as_transformers_renders_it(chat: Chat, name: str) -> None:
    text = chat(LIKE_PUBLISHED[name])
    expected = chat.tokenizer.apply_chat_template([dict(m) for m in TALK], add_generation_prompt=True, tokenize=False)
    assert text == expected
    assert text


def test_of_several_templates_the_one_called_default_is_taken(chat: Chat) -> None:
    assert chat({"default": "yes", "tool_use": "no"}) == "yes"
    with refused(r"templates named \['rag', 'tool_use'\].*default"):
        chat({"tool_use": "no", "rag": "no"})


@pytest.mark.parametrize("template", [None, "", {}])
def test_without_a_template_generate_is_pointed_at(chat: Chat, template: object) -> None:
    with refused(r"chat: got a tokenizer without a chat template.*generate\(\)"):
        chat(template)


@pytest.mark.parametrize(("template", "error"), [
    ("{% if %}", r"no Jinja template \(Expected an expression.*line 1\)"),
    ("{{ 1 | nonsense }}", "no Jinja template .*nonsense"),
    ("{% for m in messages %}", "no Jinja template"),
    ("{{ nothing.at.all }}", "UndefinedError .*'nothing' is undefined"),
    ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    ("{% set ns = namespace(_a=1) %}", "SecurityError"),
    ("{{ messages.append(1) }}", "SecurityError"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ("{{ 1 + 'a' }}", "TypeError"), ("{{ 1 / 0 }}", "ZeroDivisionError"), ("{{ range(10**6) }}", "OverflowError"),
    ("{% include 'x' %}", "TypeError|TemplateNotFound"),
    ("{{ raise_exception('Only user and\\nassistant, please') }}", r"a conversation that it refuses: Only user and\b"),
    ("{{ '\\ud800' }}", "half of a surrogate pair"),
])  # fmt: skip
def test_every_error_of_a_template_names_it_and_says_what_to_do(chat: Chat, template: str, error: str) -> None:
    with refused(rf"(?s)chat_template.*{error}.*generate\(\)|half of a surrogate pair") as caught:
        chat(template)
    assert "chat_template" in caught.value.who
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("template", "limit"), [
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "too much time.*1 seconds"),
    ("{{ 'a' * 10**10 }}", "too much memory.*0.5 GiB"),
    ("{{ ('a' * 10000).replace('a', 'b' * 10000).replace('b', 'c' * 10000) }}", "too much memory"),
    ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "too much memory"),
    ("{{ 7 ** (10 ** 8) }}", "too much time"),
    ("{% for a in range(99999) %}{{ 'abc' }}{% endfor %}", "writes too much.*100000 characters"),
])  # fmt: skip
def test_a_template_that_eats_time_or_memory_is_ended(chat: Chat, template: str, limit: str) -> None:
    begin = time.monotonic()
    with refused(f"chat_template.*{limit}.*generate"):
        chat(template)
    assert time.monotonic() - begin < 60
    assert chat("as before") == "as before"


@pytest.mark.parametrize(("messages", "who"), [
    ([], "messages: got no messages"), ((), "messages: got"), (None, "messages: got None"),
    ("Hi", "messages: got 'Hi'"),
    (b"Hi", "messages"), (5, "messages"), ({"role": "user", "content": "Hi"}, "messages: got"), ({1}, "messages"),
    (["Hi"], r"messages\[0\]: got 'Hi'"), ([None], r"messages\[0\]"), ([[TALK[0]]], r"messages\[0\].*several calls"),
    ([{1: 2}], r"messages\[0\]"), ([{}], r"messages\[0\]\['role'\]: got no such key"),
    ([{"role": "user"}], r"messages\[0\]\['content'\]: got no such key"),
    ([TALK[0], {"role": "user", "content": None}], r"messages\[1\]\['content'\]: got None"),
    ([{"role": "user", "content": ["Hi"]}], r"messages\[0\]\['content'\]"),
    ([{"role": 1, "content": "Hi"}], r"messages\[0\]\['role'\]: got 1"),
    ([{"role": "user", "content": "\ud83d"}], r"messages\[0\]\['content'\]: got half of a surrogate pair"),
    ([{"role": "user", "content": "a", "x": {1, 2}}], "messages: got a value that JSON cannot hold"),
    ([{"role": "user", "content": "a", "x": float("nan")}], "messages: got a value that JSON cannot hold"),
])  # fmt: skip
def test_messages_that_are_no_conversation_are_refused(chat: Chat, messages: object, who: str) -> None:
    with refused(who) as caught:
        chat("{{ messages }}", messages)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_message_nested_too_deep_is_refused(chat: Chat) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with refused("messages: got a value that JSON cannot hold"):
        chat("{{ messages }}", [{**TALK[0], "x": deep}])


def test_the_file_of_a_template_is_named_where_there_is_one(chat: Chat, tmp_path: Path) -> None:
    chat.tokenizer.name_or_path = str(tmp_path)
    with refused(f"chat_template in {tmp_path}/tokenizer_config.json"):
        chat("{% if %}")
    (tmp_path / "chat_template.jinja").touch()
    with refused(f"{tmp_path}/chat_template.jinja"):
        chat("{% if %}")


def test_threads_get_each_its_own_text(chat: Chat) -> None:
    chat.tokenizer.chat_template = "{{ messages[0].content }}"
    texts = [f"{index} " * 10_000 for index in range(40)]

    def one(text: str) -> str:
        return render(chat.tokenizer, [{"role": "user", "content": text}], chat.process)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, texts)) == texts


def test_a_process_that_something_else_ended_is_started_anew(chat: Chat) -> None:
    assert chat("one") == "one"
    assert chat.process._process is not None
    os.kill(chat.process._process.pid, signal.SIGKILL)
    chat.process._process.wait()
    assert chat("two") == "two"


def test_an_interrupted_text_is_not_taken_for_the_next_one(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    assert chat("one") == "one"
    assert chat.process._process is not None
    with monkeypatch.context() as patch:
        patch.setattr(chat.process._process.stdout, "readline", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            chat("two")
    assert chat("three") == "three"


FORKED = """
import os
from ttfamily.chat_process import TemplateProcess
process = TemplateProcess()
assert process.render("one", {}).text == "one"
if os.fork():
    assert [process.render(f"parent {i}", {}).text for i in range(500)] == [f"parent {i}" for i in range(500)]
    print(os.waitstatus_to_exitcode(os.wait()[1]))
else:
    assert [process.render(f"child {i}", {}).text for i in range(500)] == [f"child {i}" for i in range(500)]
"""


def test_a_forked_process_renders_in_one_of_its_own_and_nothing_is_said_at_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", FORKED],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")
