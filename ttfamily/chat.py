"""A conversation as text, through the chat template of a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

from ttfamily.chat_process import Rendered, TemplateProcess
from ttfamily.errors import RequestError, first_line
from ttfamily.tokenizer import check_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROCESS = TemplateProcess()  # starts with the first conversation
_MESSAGE = '{"role": "user", "content": "..."}'
_WITHOUT = "use generate() with a prompt of your own."


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], process: TemplateProcess = _PROCESS
) -> str:
    """Return a conversation as the template writes it, up to where the answer begins.

    The template has put the special tokens in: encode the text without more of them.

    :param messages: ``[{"role": "user", "content": ...}, ...]``; further keys may hold what JSON can hold.
    :param process: where templates are rendered, and what they may use.
    :raises RequestError: if there is no template, the messages are no conversation, or the template refuses them,
        is at fault, or takes more time, memory or text than it may.
    """
    template = _template(tokenizer)
    variables = {
        **tokenizer.special_tokens_map,
        "messages": _checked(messages),
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    try:
        result = process.render(template, variables)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(
            "messages",
            got=f"a value that JSON cannot hold ({first_line(error)})",
            expected=f"messages such as {_MESSAGE}",
            fix="Pass strings, numbers, lists and dicts.",
        ) from error
    if result.text is None:
        raise _error(_name(tokenizer), result, process)
    check_text(f"text of {_name(tokenizer)}", result.text)
    return result.text


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    found = tokenizer.chat_template
    if not found:
        raise RequestError(
            "chat",
            got="a tokenizer without a chat template",
            expected="an instruction-tuned checkpoint",
            fix="Use generate() with a prompt of your own.",
        )
    template = found.get("default") if isinstance(found, dict) else found
    if not isinstance(template, str):
        kind = f"templates named {shortened(sorted(found))}" if isinstance(found, dict) else type(found).__name__
        raise RequestError(
            _name(tokenizer),
            got=kind,
            expected="a template, or several of which one is called default",
            fix=f"Set tokenizer.chat_template to one of them, or {_WITHOUT}",
        )
    return template


def _checked(messages: object) -> list[dict[str, Any]]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        got = "no messages" if isinstance(messages, Sequence) and not messages else shortened(messages)
        raise RequestError(
            "messages", got=got, expected=f"a list such as [{_MESSAGE}]", fix="Pass one message at least."
        )
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not all(isinstance(key, str) for key in message):
            raise RequestError(
                f"messages[{index}]",
                got=shortened(message),
                expected=f"a dict such as {_MESSAGE}",
                fix="Pass one conversation; several are several calls.",
            )
        for key in ("role", "content"):
            value = message.get(key)
            if not isinstance(value, str):
                got = shortened(value) if key in message else "no such key"
                fix = "Pass text; a message without text has the content ''."
                raise RequestError(f"messages[{index}][{key!r}]", got=got, expected="a string", fix=fix)
            check_text(f"messages[{index}][{key!r}]", value)
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    file = Path(tokenizer.name_or_path) / "chat_template.jinja"
    return str(file) if file.exists() else f"chat_template in {file.with_name('tokenizer_config.json')}"


def _error(name: str, result: Rendered, process: TemplateProcess) -> RequestError:
    limits = {
        "time": ("a template that takes too much time", f"at most {process.seconds} seconds of a processor"),
        "memory": ("a template that takes too much memory", f"at most {process.memory / 2**30:.3g} GiB"),
        "length": ("a template that writes too much", f"at most {process.characters} characters"),
    }
    if result.error in limits:
        got, expected = limits[result.error]
        return RequestError(
            name, got=got, expected=expected, fix=f"Shorten the messages, correct the template, or {_WITHOUT}"
        )
    said = first_line(result.message or result.error)
    if result.error == "RefusedError":
        got, expected = f"a conversation that it refuses: {said}", "one that it was written for"
        return RequestError(name, got=got, expected=expected, fix=f"Change the messages as it says, or {_WITHOUT}")
    if result.error in {"TemplateSyntaxError", "TemplateAssertionError"}:
        got, expected = f"no Jinja template ({said})", "one that transformers renders"
        return RequestError(name, got=got, expected=expected, fix=f"Download it again, correct it, or {_WITHOUT}")
    return RequestError(
        name,
        got=f"{result.error} while it was rendered ({said})",
        expected="a template that fits these messages",
        fix=f"Check the messages' roles and keys, correct the template, or {_WITHOUT}",
    )
