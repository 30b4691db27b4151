"""What lets ttnn build programs without its kernel compiler: a stub compiler, and ttnn's folder with the stub in it.

On a mock cluster no kernel runs, but ttnn still compiles each one, loads the ELF file that comes out
and places it in memory. A stub that writes one canned file in a millisecond is enough for that.

Everything is kept in a cache folder, ttnn's own cache of compiled kernels too: a process that meets only
programs that an earlier one compiled starts no compiler. Processes may share it at the same time, as ttnn
writes each file under a name of its own and renames it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ttfamily.errors import SimulatorError
from ttfamily.sim.cluster import describe

if TYPE_CHECKING:
    from ttfamily.arch import Cluster

# A generation of compiled kernels is given up when it holds this many (about 75 KB each, two or three to a program):
# tests that draw random shapes would let it grow for ever.
KERNELS_KEPT = 10_000

SFPI_VERSION = Path("tt_metal", "sfpi-version")

# The shell alone writes the file: starting cp or ln costs more than all the rest. printf's octal
# escapes are the only means to write any byte that every /bin/sh has.
COMPILER = """#!/bin/sh
# Stands in for ttnn's kernel compiler on a mock cluster, where no kernel runs.
if [ "$1" = --version ]; then
    echo 'riscv-tt-elf-g++ (tenstorrent/sfpi:{version}[{build}]) 15.1.0'
    exit
fi
previous= output= rules=
for argument do
    case $previous in -o) output=$argument ;; -MF) rules=$argument ;; esac
    previous=$argument
done
if [ "$rules" ]; then echo "$output:" > "$rules"; fi
case $output in *.elf) printf '{elf}' > "$output" ;; *) : > "$output" ;; esac
"""


def mock_environment(folder: Path, scratch: Path, cluster: Cluster = "wormhole") -> dict[str, str]:
    """Make what the mock cluster needs, if it is not there, and return the variables that lead ttnn to it.

    They may be set after ``import ttnn``, and must be before anything asks for a device or packs a
    block float.

    :param folder: the cache folder, absolute; shared by all processes and all versions of ttnn.
    :param scratch: an absolute folder for this process alone, which the caller deletes at its end.
    :param cluster: which one it is.
    :raises SimulatorError: if ttnn is not installed from its wheel, or ``folder`` cannot be written.
    """
    version, wheel = _installed_ttnn()
    compiler, description = _compiler(wheel), describe(cluster)
    # Another ttnn, another place or another stub get a folder of their own: what a running process uses never changes.
    digest = hashlib.sha256("\0".join([str(wheel), compiler, description]).encode()).hexdigest()
    home = folder / f"ttnn-{version}-{digest[:8]}"
    try:
        if not home.exists():
            _build(home, wheel, compiler, description)
        kernels = _kernel_cache(home / "kernels")
    except OSError as error:
        raise SimulatorError(
            str(folder),
            got=str(error),
            expected="a folder that can be written, for the simulator's files",
            fix="Set TTFAMILY_CACHE to another folder.",
        ) from error
    return {
        "TT_METAL_MOCK_CLUSTER_DESC_PATH": str(home / "cluster.yaml"),
        "TT_METAL_RUNTIME_ROOT": str(home / "root"),
        "TT_METAL_CACHE": str(kernels),
        "TT_METAL_LOGS_PATH": str(scratch),
        "TT_METAL_SLOW_DISPATCH_MODE": "1",  # in fast dispatch a mock mesh reports one grid and checks another
        "TT_LOGGER_LEVEL": "OFF",  # a failed check is logged to stdout and raised: raised is enough
        "OMPI_MCA_btl": "self",  # or MPI listens on every network interface, and a crash leaves shared memory behind
    }


def _installed_ttnn() -> tuple[str, Path]:
    """Return ttnn's version and folder, without the seconds that importing it takes."""
    try:
        found = distribution("ttnn")
    except PackageNotFoundError as error:
        raise SimulatorError(
            "ttnn", got="no such package", expected="ttnn installed", fix="Run: pip install ttnn"
        ) from error
    wheel = Path(str(found.locate_file("ttnn"))).resolve()
    if not (wheel / SFPI_VERSION).is_file():
        raise SimulatorError(
            "ttnn",
            got=f"no file {wheel / SFPI_VERSION}",
            expected="ttnn as its wheel installs it",
            fix="Install the wheel: a build from source cannot be simulated.",
        )
    return found.version, wheel


def _compiler(wheel: Path) -> str:
    """Write the stub for one ttnn, whose ready-made firmware is for the compiler version that the wheel names."""
    facts = dict(re.findall(r"^sfpi_(\w+)='(.*)'$", (wheel / SFPI_VERSION).read_text(), re.MULTILINE))
    elf = "".join(f"\\{byte:03o}" for byte in _stub_elf())
    return COMPILER.format(version=facts.get("version"), build=facts.get("build"), elf=elf)


def _build(home: Path, wheel: Path, compiler: str, cluster: str) -> None:
    """Make ``home`` in one step, so that no process ever sees half of it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=home.parent))
    stub = new / "root" / "runtime" / "sfpi" / "compiler" / "bin" / "riscv-tt-elf-g++"
    stub.parent.mkdir(parents=True)
    stub.write_text(compiler)
    stub.chmod(0o755)
    for path in chain(wheel.iterdir(), (wheel / "runtime").iterdir()):
        link = new / "root" / path.relative_to(wheel)
        if not link.exists():
            link.symlink_to(path)
    (new / "cluster.yaml").write_text(cluster)
    try:
        new.rename(home)
    except OSError:
        shutil.rmtree(new)
        if not home.exists():  # or another process was faster
            raise


def _kernel_cache(folder: Path) -> Path:
    """Return the newest generation of compiled kernels, or the next one if that is full.

    The one before the newest stays: processes that started with it may still run.
    """
    generations = sorted(int(path.name) for path in folder.iterdir()) if folder.exists() else []
    newest = generations[-1] if generations else 0
    if sum(1 for _ in (folder / str(newest)).glob("*/kernels/*/*")) >= KERNELS_KEPT:
        for old in generations[:-1]:
            shutil.rmtree(folder / str(old), ignore_errors=True)
        newest += 1
    cache = folder / str(newest)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _stub_elf() -> bytes:
    """Return the least RISC-V executable that ttnn's loader takes: one loaded segment, with relocations."""
    address, code = 0x6450, struct.pack("<2I", 0x00008067, 0x00008067)  # two returns
    symbols = bytes(16) + struct.pack("<IIIBBH", 0, address, len(code), 0x12, 0, 1)  # a global function in section 1
    relocations = struct.pack("<IIi", address, 1 << 8 | 17, 4)  # symbol 1, R_RISCV_JAL
    names = b"\0.text\0.rela.text\0.symtab\0.strtab\0.shstrtab\0"
    sections = [  # name, type, flags, address, bytes, link, info, alignment, entry size
        (b"", 0, 0, 0, b"", 0, 0, 0, 0),
        (b".text", 1, 6, address, code, 0, 0, 4, 0),
        (b".rela.text", 4, 0x40, 0, relocations, 3, 1, 4, 12),
        (b".symtab", 2, 0, 0, symbols, 4, 1, 4, 16),
        (b".strtab", 3, 0, 0, b"\0", 0, 0, 1, 0),
        (b".shstrtab", 3, 0, 0, names, 0, 0, 1, 0),
    ]
    file_header, program_header, section_header = 52, 32, 40
    start = file_header + program_header
    body = headers = b""
    for name, kind, flags, at, content, *rest in sections:
        place = names.index(b"\0" + name + b"\0") + 1 if name else 0
        headers += struct.pack("<10I", place, kind, flags, at, start + len(body), len(content), *rest)
        body += content + bytes(-len(content) % 4)
    identity = b"\x7fELF\1\1\1" + bytes(9)  # 32 bits, little-endian
    executable, risc_v = 2, 243
    header = struct.pack(
        "<HHIIIIIHHHHHH",
        *(executable, risc_v, 1, address, file_header, start + len(body), 0, file_header),
        *(program_header, 1, section_header, len(sections), len(sections) - 1),
    )
    readable_code = struct.pack("<8I", 1, start, address, address, len(code), len(code), 5, 4)
    return identity + header + readable_code + body + headers
