"""What this machine has for running models, what it lacks, and what to do about it.

Files are looked up, nothing is opened and nothing is run: examining a machine disturbs no one
who is using its cards. Where the facts come from: the paths that ttnn 0.81 itself looks at
(``/opt/tenstorrent/sfpi``, ``/dev/hugepages-1G``), and the attributes of Tenstorrent's kernel
driver in ``/sys/class/tenstorrent``.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from ttfamily.errors import ConfigError
from ttfamily.paths import CACHE_VARIABLE, cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

Status = Literal["ok", "warn", "missing"]
Purpose = Literal["every run", "hardware"]

PYTHONS = ((3, 10), (3, 12))
TTNN = "0.81."
GLIBC = (2, 34)  # the wheel is manylinux_2_34
COMPILER = "compiler/bin/riscv-tt-elf-g++"
GIGANTIC = "sys/kernel/mm/hugepages/hugepages-1048576kB"
DEMO_GIB = 2
INSTALL = "Run make env, or pip install ttfamily."
COLOURS: Mapping[Status, str] = {"ok": "green", "warn": "yellow", "missing": "red"}


@attrs.frozen(kw_only=True)
class Check:
    """One thing that was looked for.

    :param name: what it is.
    :param purpose: what does not work without it.
    :param status: ``ok``; ``warn``: works, but look at it; ``missing``.
    :param found: what is there.
    :param fix: what to do, empty if nothing.
    """

    name: str
    purpose: Purpose
    status: Status
    found: str
    fix: str = ""


def examine(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> tuple[Check, ...]:
    """Look at the machine.

    :param root: the folder that holds ``dev``, ``sys``, ``proc`` and ``opt``.
    :param environ: the environment to read; the process's own by default.
    """
    return (*_for_every_run(root, environ), *_for_hardware(root))


def show(checks: Sequence[Check], console: Console) -> bool:
    """Print the checks and a verdict; return whether models can run on a simulated mesh."""
    from rich.table import Table

    table = Table("", "status", "found", "what to do")
    for purpose in ("every run", "hardware"):
        table.add_section()
        table.add_row(f"[bold]for {purpose}[/]", "", "", "")
        for check in checks:
            if check.purpose == purpose:
                table.add_row(check.name, f"[{COLOURS[check.status]}]{check.status}[/]", check.found, check.fix)
    console.print(table)
    simulated = missing(checks, "every run")
    hardware = missing(checks, "hardware")
    console.print(_verdict('device="simulated"', simulated))
    console.print(_verdict('device="hardware"', [*simulated, *hardware]))
    return not simulated


def missing(checks: Sequence[Check], purpose: Purpose) -> list[str]:
    """Return the names of what is missing for a purpose."""
    return [check.name for check in checks if check.purpose == purpose and check.status == "missing"]


def _verdict(what: str, lacks: Sequence[str]) -> str:
    return f"[red]{what} cannot run here yet: {', '.join(lacks)}.[/]" if lacks else f"[green]{what} can run here.[/]"


def _for_every_run(root: Path, environ: Mapping[str, str] | None) -> tuple[Check, ...]:
    return (
        _python(sys.version_info[:2], platform.python_version()),
        _system(platform.system(), platform.machine(), platform.libc_ver()),
        _package("ttnn", accepts=TTNN),
        _package("torch"),
        _package("transformers"),
        _memory(root),
        _cache(environ),
    )


def _for_hardware(root: Path) -> tuple[Check, ...]:
    nodes = _nodes(root)
    return (_driver(root), _devices(root, nodes), _compiler(root, _ttnn_folder()), _hugepages(root, len(nodes)))


def _python(version: tuple[int, int], full: str) -> Check:
    good = version in PYTHONS
    return Check(
        name="Python",
        purpose="every run",
        status="ok" if good else "missing",
        found=full,
        fix="" if good else "Use Python 3.12 or 3.10: ttnn has wheels for these two only.",
    )


def _system(system: str, machine: str, libc: tuple[str, str]) -> Check:
    """Check what the ttnn wheel was built for; the simulated mesh needs it as much as hardware does."""
    name, version = libc
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    good = system == "Linux" and machine == "x86_64" and name == "glibc" and numbers >= GLIBC
    return Check(
        name="operating system",
        purpose="every run",
        status="ok" if good else "missing",
        found=" ".join(part for part in (system, machine, name, version) if part),
        fix="" if good else "The ttnn wheel needs Linux on x86_64 with glibc 2.34 or newer (Debian 12, Ubuntu 22.04).",
    )


def _package(name: str, accepts: str = "") -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name=name, purpose="every run", status="missing", found="not installed", fix=INSTALL)
    good = version.startswith(accepts)
    return Check(
        name=name,
        purpose="every run",
        status="ok" if good else "warn",
        found=version,
        fix="" if good else f"ttfamily is written for {accepts}*: install that.",
    )


def _memory(root: Path) -> Check:
    available = re.search(r"MemAvailable:\s+(\d+) kB", _read(root / "proc" / "meminfo"))
    size = int(available[1]) / 2**20 if available else 0.0
    good = size >= DEMO_GIB
    return Check(
        name="free memory",
        purpose="every run",
        status="ok" if good else "warn",
        found=f"{size:.1f} GiB" if available else "unknown",
        fix="" if good else f"The demo takes {DEMO_GIB} GiB, another model its weights in float32.",
    )


def _cache(environ: Mapping[str, str] | None) -> Check:
    try:
        folder = cache_folder(environ)
    except ConfigError as error:
        return Check(name="cache folder", purpose="every run", status="missing", found=error.got, fix=error.fix)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    good = existing.is_dir() and os.access(existing, os.W_OK)
    return Check(
        name="cache folder",
        purpose="every run",
        status="ok" if good else "missing",
        found=str(folder) if good else f"{existing} cannot be written to",
        fix="" if good else f"Set {CACHE_VARIABLE} to a folder that can.",
    )


def _nodes(root: Path) -> list[int]:
    """Return the numbers of the cards that the driver shows in ``/dev/tenstorrent``."""
    folder = root / "dev" / "tenstorrent"
    return sorted(int(node.name) for node in folder.glob("*") if node.name.isdigit())


def _driver(root: Path) -> Check:
    module = root / "sys" / "module" / "tenstorrent"
    version = _read(module / "version")
    if module.is_dir() and (root / "dev" / "tenstorrent").is_dir():
        return Check(name="driver", purpose="hardware", status="ok", found=f"tt-kmd {version or '(no version given)'}")
    found = "loaded, but no /dev/tenstorrent" if module.is_dir() else "not loaded"
    fix = "Install Tenstorrent's kernel driver (tt-kmd) and load it: modprobe tenstorrent."
    return Check(name="driver", purpose="hardware", status="missing", found=found, fix=fix)


def _devices(root: Path, nodes: Sequence[int]) -> Check:
    if not nodes:
        fix = "Check that the card is seated and powered: lspci -d 1e52: lists Tenstorrent's."
        return Check(name="devices", purpose="hardware", status="missing", found="none", fix=fix)
    cards = [_read(root / "sys" / "class" / "tenstorrent" / f"tenstorrent!{node}" / "tt_card_type") for node in nodes]
    names = ", ".join(card or "unknown type" for card in cards)
    closed = [node for node in nodes if not os.access(root / "dev" / "tenstorrent" / str(node), os.R_OK | os.W_OK)]
    if closed:
        fix = f"Give this user read and write access to /dev/tenstorrent/{closed[0]}."
        return Check(name="devices", purpose="hardware", status="missing", found=f"{names}, not permitted", fix=fix)
    return Check(name="devices", purpose="hardware", status="ok", found=f"{len(nodes)}: {names}")


def _ttnn_folder() -> Path | None:
    found = util.find_spec("ttnn")  # finds it without importing it
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def _compiler(root: Path, ttnn: Path | None) -> Check:
    """Look for sfpi, which compiles ttnn's kernels; the wheel does not hold it."""
    places = [ttnn / "runtime" / "sfpi"] if ttnn is not None else []
    places.append(root / "opt" / "tenstorrent" / "sfpi")
    for place in places:
        if (place / COMPILER).is_file():
            return Check(name="kernel compiler", purpose="hardware", status="ok", found=f"sfpi in {place}")
    wanted = re.search(r"sfpi_version='([^']+)'", _read(ttnn / "tt_metal" / "sfpi-version") if ttnn is not None else "")
    release = f" {wanted[1]}" if wanted else ""
    fix = f"Install Tenstorrent's sfpi package{release}: it goes to /opt/tenstorrent/sfpi."
    return Check(name="kernel compiler", purpose="hardware", status="missing", found="no sfpi", fix=fix)


def _hugepages(root: Path, cards: int) -> Check:
    """Look for 1 GiB pages, one a card: the host memory that a card reads and writes."""
    count = int(_read(root / GIGANTIC / "nr_hugepages") or 0)
    mounted = (root / "dev" / "hugepages-1G").is_dir()
    found = f"{count} of 1 GiB, /dev/hugepages-1G {'mounted' if mounted else 'not mounted'}"
    fix = "Install tenstorrent-tools (its hugepages service sets one page a card aside) and restart."
    status: Status = "missing"
    if count >= max(cards, 1) and mounted:
        status, fix = "ok", ""
    elif any((root / "sys" / "class" / "iommu").glob("*")):
        # The driver then maps ordinary pages, which ttnn accepts and calls slower.
        status, found = "warn", f"{found}; the IOMMU makes do without"
    return Check(name="hugepages", purpose="hardware", status=status, found=found, fix=fix)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
