from __future__ import annotations

import io
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

import ttfamily
from ttfamily.cli import main
from ttfamily.commands.families import show_families
from ttfamily.commands.prompts import gather
from ttfamily.commands.speed import speed_line
from ttfamily.errors import MeshError, RequestError
from ttfamily.registry import BrokenPlugin, FamilyRegistry, Plugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self


def statistics(**changes: Any) -> SimpleNamespace:
    values = {"batch": 1, "new_tokens": 9, "sequence_length": 13, "ttft_s": 0.0421, "decode_steps": 8}
    return SimpleNamespace(**{**values, "tokens_per_s_user": 20.0, "tokens_per_s": 20.0, **changes})


class FakeModel:
    """Answers every prompt with itself, one word at a time."""

    mesh = SimpleNamespace(kind="simulated")
    last_run = statistics()

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def generate(self, prompt: Any, *, stream: bool = False, **options: Any) -> Any:
        self.calls.append(("generate", prompt, options))
        return iter(prompt.split(" ")) if stream else [f"<{text}>" for text in prompt]

    def chat(self, messages: Any, *, stream: bool, **options: Any) -> Iterator[str]:
        self.calls.append(("chat", messages, options))
        return iter(["a", "b"])


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands set up their process: the log's handlers, a variable for OpenMP. Undo both."""
    log = logging.getLogger("ttfamily")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "level", log.level)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str, stdin: str = "") -> int:
        monkeypatch.setattr(sys, "argv", ["ttfamily", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as exit_:
            main()
        return int(exit_.value.code or 0)

    return run


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = FakeModel()
    monkeypatch.setattr(ttfamily, "load", lambda *args, **kwargs: (setattr(fake, "loaded", (args, kwargs)), fake)[1])
    return fake


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(ttfamily, "load", load)


def test_help_lists_the_commands_and_where_to_start(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert "Start here:\n    ttfamily demo" in out
    for command in ("demo", "generate", "plan", "families", "new-plugin", "doctor", "verify"):
        assert f"\n  {command}" in out


@pytest.mark.parametrize(
    "command", ["demo", "generate", "plan", "families", "families explain", "new-plugin", "doctor", "verify"]
)
def test_every_command_teaches_by_example(command: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), "-h") == 0
    assert f"    ttfamily {command}" in capsys.readouterr().out.partition("Example")[2]


def test_one_prompt_is_streamed_to_standard_output_alone(
    run: Any, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "folder", "two words") == 0
    out, err = capsys.readouterr()
    assert out == "twowords\n"
    assert "TTFT 42 ms, 20.0 tokens/s/user, 20.0 tokens/s, batch 1, sequence length 13" in err


def test_every_option_arrives(run: Any, model: Any) -> None:
    sampling = "--max-new-tokens 5 --temperature 0.5 --top-k 3 --top-p 0.9 --seed 1 --stop x --stop y"
    target = "--mesh n300 --device dry --precision performance --max-seq-len 64 --batch-size 4 --revision main"
    assert run("generate", "folder", "prompt", *sampling.split(), *target.split(), "--family", "x") == 0
    assert model.calls == [
        (
            "generate",
            "prompt",
            {"max_new_tokens": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 1, "stop": ["x", "y"]},
        )
    ]
    assert "LlamaForCausalLM" in model.loaded[1].pop("registry").architectures
    assert model.loaded == (
        ("folder",),
        {
            "mesh": "n300",
            "device": "dry",
            "precision": "performance",
            "max_seq_len": 64,
            "max_batch_size": 4,
            "revision": "main",
            "family": "x",
        },
    )


def test_several_prompts_run_together_and_are_printed_in_order(
    run: Any, model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "folder", "one", "[red]two", "-", stdin="three\n") == 0
    assert capsys.readouterr().out == "[1] one\n<one>\n\n[2] [red]two\n<[red]two>\n\n[3] three\n<three>\n\n"
    assert model.loaded[1]["max_batch_size"] == 3


def test_chat_sends_one_message(run: Any, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "folder", "--chat", "hello") == 0
    assert capsys.readouterr().out == "ab\n"
    assert model.calls[0][:2] == ("chat", [{"role": "user", "content": "hello"}])
    assert run("generate", "folder", "--chat", "hello", "again") == 1
    assert "one message" in capsys.readouterr().err


def test_the_log_goes_to_standard_error(
    run: Any, model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeModel, "__enter__", lambda self: (logging.getLogger("ttfamily.x").info("a note"), self)[1])
    assert run("generate", "folder", "prompt") == 0
    out, err = capsys.readouterr()
    assert out == "prompt\n"
    assert err.startswith("a note\n")


def test_an_error_is_one_block_without_traceback(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, MeshError("mesh", got="'n3'", expected="one of [n150, n300]", fix="Name your board."))
    assert run("generate", "folder", "prompt") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("MeshError: mesh\n       got  'n3'\n  expected  one of [n150, n300]\n     to do  Name your board.\n")


def test_traceback_shows_the_error_as_python_does(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, MeshError("mesh", got="a", expected="b", fix="c"))
    monkeypatch.setattr(sys, "argv", ["ttfamily", "generate", "folder", "prompt", "--traceback"])
    with pytest.raises(MeshError):
        main()


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError())
    monkeypatch.setattr(sys, "argv", ["ttfamily", "generate", "folder", "prompt"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_ctrl_c_ends_cleanly(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert run("generate", "folder", "prompt") == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


@pytest.mark.parametrize("arguments", [["generate"], ["generate", "m", "p", "--top-p", "2"], ["nonsense"]])
def test_wrong_usage_exits_with_two(arguments: list[str], run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "Usage: ttfamily" in capsys.readouterr().err


def test_prompts_come_from_arguments_standard_input_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("third\n\n  fourth\n", encoding="utf-8")
    assert gather(["first", "-"], file, io.StringIO("second\nline\n")) == ["first", "second\nline", "third", "  fourth"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([], "", "no prompt"),
        ([""], "", "an empty prompt"),
        (["-"], "\n", "an empty prompt"),
        (["-", "-"], "x", "two prompts that are -"),
    ],
)
def test_a_prompt_that_is_none_is_refused(arguments: list[str], stdin: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        gather(arguments, None, io.StringIO(stdin))


def test_a_prompts_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.txt: No such file"):
        gather([], tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    with pytest.raises(RequestError, match="not UTF-8"):
        gather([], tmp_path / "latin.txt")


def test_speed_of_a_simulated_mesh_is_not_sold_as_a_cards() -> None:
    assert "this computer's speed" in speed_line(statistics(), mesh="n300", kind="simulated")
    assert speed_line(statistics(), mesh="n300", kind="hardware").endswith("9 new tokens (n300)")
    assert "tokens/s" not in speed_line(statistics(decode_steps=0), mesh="n300", kind="hardware")


def test_families_shows_broken_plugins_with_their_traceback() -> None:
    console = Console(file=io.StringIO(), width=120)
    plugin = Plugin(name="odd", package="odd-models", version="1.0", module="odd")
    broken = BrokenPlugin(plugin=plugin, reason="ImportError: [x]", traceback="Traceback ...\nImportError: [x]")
    show_families(FamilyRegistry(provided=(), broken=(broken,)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Plugin odd of odd-models 1.0 could not be loaded:\nTraceback ...\nImportError: [x]" in text


def test_debug_switches_on_ttnns_own_tracking_of_allocations() -> None:
    script = """
from ttfamily.cli import app
app(["--debug", "families"], standalone_mode=False)
from ttnn.tools import trace_allocation_tracker as tracker
print(tracker.TRACE_ALLOC_TRACKING, tracker.TRACE_ALLOC_DIAGNOSTICS)
"""
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert got.stdout.splitlines()[-1] == "True True"
