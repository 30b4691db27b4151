"""The report of a plan, and the command that shows it."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from transformers import FalconConfig, MistralConfig

from ttfamily.cli import main
from ttfamily.commands.plan import read_config
from ttfamily.loading import choose_family
from ttfamily.planning.hardware import WORMHOLE
from ttfamily.planning.planner import plan_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ttfamily.planning.report import Report

MISTRAL_7B = MistralConfig(
    vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=2, num_attention_heads=32,
    num_key_value_heads=8, max_position_embeddings=32768, architectures=["MistralForCausalLM"],
)  # fmt: skip
FALCON_40B = FalconConfig(
    vocab_size=65024, hidden_size=8192, num_hidden_layers=2, num_attention_heads=128, num_kv_heads=8,
    new_decoder_architecture=True, max_position_embeddings=2048, architectures=["FalconForCausalLM"],
)  # fmt: skip


def planned(folder: Path, **options: Any) -> Report:
    config = read_config(str(folder))
    return plan_model(config, choose_family(config, None, None), name="model", **options)


@pytest.mark.parametrize(("mesh", "precision"), [("n150", "performance"), ("n300", "accuracy")])
def test_llama_8b_reads_no_more_than_it_must_and_is_no_faster_than_its_memory(
    mesh: str, precision: str, folder: Callable[..., Path]
) -> None:
    report = planned(folder("8b"), mesh=mesh, precision=precision)
    for reads in report.reads:
        assert 1 <= reads.ratio <= 1.03
    assert report.token is not None
    assert report.token.seconds > report.reads[0].floor / WORMHOLE.dram_peak
    assert sum(report.memory.values()) == report.dram_bytes
    assert "other" not in report.memory  # every byte that the allocator counts is some tensor's
    (comparison,) = report.comparisons
    assert comparison.precision == precision
    assert 0.85 <= comparison.tokens_per_s_ratio <= 1.5
    most = {each.users: each.tokens for each in report.contexts}
    assert most[1] == report.context
    assert all(fewer >= more for fewer, more in zip(most.values(), list(most.values())[1:], strict=False))


@pytest.mark.parametrize("mesh", ["n150", "n300"])
@pytest.mark.parametrize("config", [MISTRAL_7B, FALCON_40B], ids=["mistral-7b", "falcon-40b"])
def test_the_shapes_of_other_families_read_no_more_than_they_must(
    mesh: str, config: Any, folder: Callable[..., Path]
) -> None:
    report = planned(folder(config), mesh=mesh, precision="performance", context=1024)
    assert [reads.ratio <= 1.03 for reads in report.reads] == [True, True]
    assert report.comparisons == ()  # nothing is published for such a shape


def test_a_report_has_the_layer_and_its_collectives(folder: Callable[..., Path]) -> None:
    report = planned(folder("small"), mesh="n300", users=2, context=256)
    assert report.ops_per_layer["linear"] == 5
    assert report.ops_per_layer["all_reduce"] == 2
    decode = [each for each in report.collectives if each.phase == "decode"]
    assert [(each.op, each.per_layer, each.bytes) for each in decode] == [("all_reduce", 2, 32 * 512 * 2)]
    assert decode[0].link_bytes == 32 * 512 * 2  # half in the reduce-scatter, half in the all-gather
    cuts = {cut.slot: cut for cut in report.cuts}
    assert cuts["layer.mlp.gate_up"].share == 2 * 2 * 512 * 1024 // 2 * 1088 // 1024
    assert all(cut.held > 0 for cut in report.cuts)
    again = json.loads(report.to_json())
    assert again["tokens_per_s_user"] == report.tokens_per_s_user
    assert again["reads"][0]["ratio"] == pytest.approx(report.reads[0].ratio, abs=1e-4)


# ---- the command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line, and return its exit code."""

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ttfamily", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0)

    return call


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects what a page asks for."""

    EMPTY = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(
    folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder("small")
    out = place / "plan.html"
    assert run("plan", str(place / "config.json"), "--mesh", "n150", "--seq", "512", "--html", str(out)) == 0
    assert capsys.readouterr().out == ""
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("svg") == 4  # memory, and three times
    assert not {"src", "href"} & set(page.attributes)
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    bars = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for bar in bars:
        assert sum(map(float, re.findall(r'<rect[^>]* width="([0-9.]+)"', bar))) == pytest.approx(1000, abs=0.2)


def test_the_terminal_shows_every_table_and_json_has_the_same_numbers(
    folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder("small"))
    assert run("plan", place, "--mesh", "n300", "--seq", "256", "--batch", "2") == 0
    out = capsys.readouterr().out
    for title in ("Weights:", "DRAM of each", "longest context", "Collectives", "DRAM traffic", "Ops of", "Predicted"):
        assert title in out
    assert run("plan", place, "--mesh", "n300", "--seq", "256", "--batch", "2", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["users"], values["context"], values["chips"]) == (2, 256, 2)
    assert f"{values['tokens_per_s_user']:.1f} tokens/s/user" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("./nowhere",), "no such folder"),
        (("{folder}", "--mesh", "n151"), "n151"),
        (("{folder}", "--precision", "best"), "best"),
        (("{folder}", "--seq", "1000000"), "max_seq_len"),
        (("{folder}", "--batch", "33"), "max_batch_size"),
        (("{folder}", "--html", "{folder}/missing/plan.html"), "--html"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_block(
    arguments: tuple[str, ...], says: str, folder: Callable[..., Path], run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder("small"))
    assert run("plan", *(argument.replace("{folder}", place) for argument in arguments)) == 1
    err = capsys.readouterr().err
    assert says in err
    assert "to do" in err
    assert "Traceback" not in err
