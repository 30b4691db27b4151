"""The conformance kit finds each of the mistakes that a family's author is likely to make."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
# Class of mistakes.py -> tests that must fail.
CAUGHT_BY = {
    "TestKeysAndValuesSwapped": {"test_attention"},
    "TestGateAndUpSwapped": {"test_mlp"},
    "TestWrongRopeLayout": {"test_attention"},
    "TestNormOffByOneLayer": {"test_logits_of_prefill_and_32_decode_steps"},
    "TestWindowOffByOne": {"test_attention"},
    "TestDroppedBias": {"test_every_weight_is_used_exactly_once", "test_attention"},
    "TestFalconGroupedWrongly": {"test_attention"},
    "TestUntiedHeadIgnored": {"test_every_weight_is_used_exactly_once", "test_embedding_and_head"},
    "TestKeyReadAndForgotten": {"test_every_config_key_that_matters_is_read_or_refused"},
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Run the kit on all of them at once; test class -> test -> why it failed."""
    report = tmp_path_factory.mktemp("report") / "junit.xml"
    chosen = " or ".join(f"({name} and {test})" for name, tests in CAUGHT_BY.items() for test in tests)
    ran = subprocess.run(
        [
            sys.executable, "-m", "pytest", str(HERE / "mistakes.py"), "-q", "-p", "no:cacheprovider", "-k", chosen,
            "--tt-mesh=n150", "--hypothesis-seed=0", f"--junitxml={report}", "--hypothesis-profile=quick",
        ],
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        check=False,
    )  # fmt: skip
    assert report.exists(), ran.stdout + ran.stderr
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 -- written by our own run
        for failure in (*case.iter("failure"), *case.iter("error")):
            test = case.get("name").partition("[")[0]
            found[case.get("classname").rpartition(".")[2]][test] = failure.get("message") or ""
    return found


@pytest.mark.parametrize("mistake", CAUGHT_BY)
def test_a_familys_mistake_is_caught(failed: dict[str, dict[str, str]], mistake: str) -> None:
    assert set(failed[mistake]) == CAUGHT_BY[mistake]


def test_the_failures_say_what_is_wrong(failed: dict[str, dict[str, str]]) -> None:
    assert "PCC" in failed["TestGateAndUpSwapped"]["test_mlp"]
    dropped = failed["TestDroppedBias"]["test_every_weight_is_used_exactly_once"]
    assert "tensors that no part of the model takes" in dropped
    assert "sliding_window" in next(iter(failed["TestKeyReadAndForgotten"].values()))
