"""What runs in the process of ``chat_process.py``: jinja2 as transformers 5 sets it up, under limits.

One JSON request a line on standard input, one JSON answer a line on standard output. No torch and no
transformers are imported here, so that it starts in a tenth of a second and in 20 MB.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


def serve() -> None:
    """Read the limits, then answer requests until standard input ends.

    The first line is ``{"seconds": int, "memory": bytes, "characters": int}``, a request is
    ``{"template": str, "variables": {...}}``, and an answer ``{"text": str}`` or ``{"error": kind, "message": str}``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    limits = json.loads(sys.stdin.readline())
    limit(resource.RLIMIT_AS, limits["memory"])
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)  # whatever a template came to, it could write no file
    for line in sys.stdin:
        # The kernel ends the process when the time is over, in the middle of a long operation, too.
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + limits["seconds"])
        sys.stdout.write(json.dumps(answer(line, limits["characters"])) + "\n")
        sys.stdout.flush()


def limit(what: int, soft: int) -> None:
    """Set a soft limit of this process, or the hard one where that is less."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def answer(line: str, characters: int) -> dict[str, str]:
    """Render what a request asks for; every error is an answer."""
    try:
        request = json.loads(line)
        pieces, length = [], 0
        for piece in compiled(request["template"]).generate(request["variables"]):
            pieces.append(piece)
            length += len(piece)
            if length > characters:
                return {"error": "length"}
        return {"text": "".join(pieces)}
    except MemoryError:
        return {"error": "memory"}
    except Exception as error:  # noqa: BLE001 -- a template can raise whatever Python can
        where = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        return {"error": type(error).__name__, "message": str(error)[:1000] + where}


@lru_cache(maxsize=4)
def compiled(template: str) -> Template:
    """Return a template in the environment that transformers' ``chat_template_utils`` makes for it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=raise_exception, strftime_now=strftime_now, dict=PlainDict(), namespace=PlainNamespace
    )
    return environment.from_string(template)


class Generation(Extension):
    """``{% generation %}`` marks, for training, what the model wrote; its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 -- jinja2's own way to say it

    def parse(self, parser: Any) -> nodes.Node:
        """Return the statements up to ``{% endgeneration %}`` in a scope of their own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class PlainNamespace(Namespace):
    """``namespace`` without names that mean something to Python."""

    def __init__(*args: Any, **values: Any) -> None:  # a template may set "self"
        self, *rest = args
        given = dict(*rest, **values)
        for name in given:
            _check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        Namespace.__setitem__(self, name, value)


class PlainDict:
    """``dict`` without the attributes of a class."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        """Return a new dict."""
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return a dict with the same value for each key."""
        return dict.fromkeys(*args)


class RefusedError(TemplateError):
    """What a template raises to say that a conversation is not for it."""


def raise_exception(message: object) -> NoReturn:
    """Refuse the conversation."""
    raise RefusedError(str(message))


def strftime_now(form: str) -> str:
    """Return the time, where the user is."""
    return datetime.now().strftime(form)  # noqa: DTZ005 -- as transformers does


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Return JSON; jinja2's own filter of this name escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore: {name!r}")
