from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ttfamily import doctor
from ttfamily.doctor import Check, examine, missing, show
from ttfamily.errors import ConfigError
from ttfamily.paths import cache_folder

if TYPE_CHECKING:
    from pathlib import Path


def write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A machine with an n300 and everything it needs."""
    write(tmp_path / "dev/tenstorrent/0")
    (tmp_path / "dev/hugepages-1G").mkdir()
    write(tmp_path / "sys/module/tenstorrent/version", "2.7.0\n")
    write(tmp_path / "sys/class/tenstorrent/tenstorrent!0/tt_card_type", "n300s\n")
    write(tmp_path / "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "1\n")
    write(tmp_path / "opt/tenstorrent/sfpi/compiler/bin/riscv-tt-elf-g++")
    write(tmp_path / "proc/meminfo", "MemTotal: 99999999 kB\nMemAvailable:   20971520 kB\n")
    return tmp_path


def named(root: Path, name: str) -> Check:
    return next(check for check in examine(root) if check.name == name)


def test_a_machine_with_a_card_lacks_nothing(card: Path) -> None:
    checks = examine(card, {"TTFAMILY_CACHE": str(card / "cache")})
    assert [check for check in checks if check.status != "ok"] == []
    found = {check.name: check.found for check in checks}
    assert found["devices"] == "1: n300s"
    assert found["driver"] == "tt-kmd 2.7.0"
    assert found["free memory"] == "20.0 GiB"


def test_a_machine_without_a_card_can_simulate(tmp_path: Path) -> None:
    checks = examine(tmp_path, {"TTFAMILY_CACHE": str(tmp_path / "cache")})
    assert missing(checks, "every run") == []
    assert missing(checks, "hardware") == ["driver", "devices", "kernel compiler", "hugepages"]
    assert all(check.fix for check in checks if check.status != "ok")
    console = Console(file=io.StringIO(), width=160)
    assert show(checks, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert 'device="simulated" can run here.' in text
    assert 'device="hardware" cannot run here yet: driver, devices, kernel compiler, hugepages.' in text


def test_what_every_run_needs_decides_the_verdict() -> None:
    console = Console(file=io.StringIO(), width=160)
    lacking = Check(name="ttnn", purpose="every run", status="missing", found="not installed", fix="Install it.")
    assert not show([lacking], console)
    assert 'device="simulated" cannot run here yet: ttnn.' in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_module_without_device_nodes_is_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "sys/module/tenstorrent/version", "2.7.0")
    assert named(tmp_path, "driver").found == "loaded, but no /dev/tenstorrent"


def test_a_card_that_this_user_may_not_open_is_reported(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: "tenstorrent" not in str(path))  # root may open everything
    assert named(card, "devices").found == "n300s, not permitted"


def test_the_missing_compiler_is_named_with_the_release_that_ttnn_wants(tmp_path: Path) -> None:
    wheel = tmp_path / "ttnn"
    write(wheel / "tt_metal/sfpi-version", "sfpi_repo='somewhere'\nsfpi_version='1.2.3'\n")
    check = doctor._compiler(tmp_path, wheel)
    assert "sfpi package 1.2.3" in check.fix
    write(wheel / "runtime/sfpi/compiler/bin/riscv-tt-elf-g++")
    assert doctor._compiler(tmp_path, wheel).status == "ok"


def test_two_cards_want_two_hugepages_unless_there_is_an_iommu(card: Path) -> None:
    write(card / "dev/tenstorrent/1")
    assert named(card, "hugepages").status == "missing"
    write(card / "sys/class/iommu/dmar0")
    assert named(card, "hugepages").status == "warn"


@pytest.mark.parametrize(("version", "status"), [((3, 10), "ok"), ((3, 11), "missing"), ((3, 13), "missing")])
def test_python_must_be_one_that_ttnn_has_wheels_for(version: tuple[int, int], status: str) -> None:
    assert doctor._python(version, "x").status == status


@pytest.mark.parametrize(
    ("system", "machine", "libc", "status"),
    [
        ("Linux", "x86_64", ("glibc", "2.34"), "ok"),
        ("Linux", "x86_64", ("glibc", "2.31"), "missing"),
        ("Linux", "aarch64", ("glibc", "2.39"), "missing"),
        ("Linux", "x86_64", ("", ""), "missing"),
        ("Darwin", "arm64", ("", ""), "missing"),
    ],
)
def test_the_system_must_be_one_that_the_wheel_runs_on(
    system: str, machine: str, libc: tuple[str, str], status: str
) -> None:
    assert doctor._system(system, machine, libc).status == status


def test_packages_are_found_by_version() -> None:
    assert doctor._package("no-such-package").status == "missing"
    assert doctor._package("torch", accepts="0.").status == "warn"


def test_a_cache_folder_that_cannot_be_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "file")
    assert doctor._cache({"TTFAMILY_CACHE": str(tmp_path / "file" / "below")}).status == "missing"
    assert doctor._cache({"TTFAMILY_CACHE": "relative"}).status == "missing"


def test_the_cache_folder_follows_the_environment_and_the_platform(tmp_path: Path) -> None:
    assert cache_folder({"TTFAMILY_CACHE": str(tmp_path)}) == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}, "linux") == tmp_path / "ttfamily"
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, "linux").parts[-2:] == (".cache", "ttfamily")
    assert cache_folder({}, "darwin").parts[-3:] == ("Library", "Caches", "ttfamily")
    with pytest.raises(ConfigError, match="TTFAMILY_CACHE: got 'here'; expected an absolute path"):
        cache_folder({"TTFAMILY_CACHE": "here"})
