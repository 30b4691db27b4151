"""``ttfamily plan``: what a model takes of a mesh and how fast it can be, from its config alone."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.console import Console

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.errors import RequestError
from ttfamily.hub import checkpoint_folder
from ttfamily.loading import choose_family
from ttfamily.planning.html import page
from ttfamily.planning.measured import Measured
from ttfamily.planning.planner import plan_model
from ttfamily.planning.text import show

if TYPE_CHECKING:
    from ttfamily.registry import FamilyRegistry

CONFIG = "config.json"


@attrs.frozen(kw_only=True)
class PlanOptions:
    """What to plan, for what.

    :param measured: a report of ``ttfamily verify``, whose constants the prediction takes.
    """

    model: str
    mesh: str
    precision: str
    batch_size: int
    seq_len: int | None
    revision: str | None
    family: str | None
    measured: Path | None = None


def plan(asked: PlanOptions, registry: FamilyRegistry, *, as_json: bool, html: Path | None) -> None:
    """Print the plan, or write it.

    :param html: the file to write, if any.
    :raises TtfamilyError: if there is no such model, or it cannot be laid out, or does not fit.
    """
    if html is not None:
        _check_place(html)
    config = read_config(asked.model, asked.revision)
    report = plan_model(
        config,
        choose_family(config, asked.family, registry),
        name=_name(asked.model),
        mesh=asked.mesh,
        boards=registry.boards,
        precision=asked.precision,
        users=asked.batch_size,
        context=asked.seq_len,
        measured=None if asked.measured is None else Measured.read(asked.measured),
    )
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    if html is not None:
        html.write_text(page(report), encoding="utf-8")
        Console(stderr=True, highlight=False).print(f"Wrote {html}", soft_wrap=True, markup=False)
    elif not as_json:
        show(report, Console(highlight=False, markup=False))


def read_config(model: str, revision: str | None = None) -> HfConfig:
    """Read the config of a checkpoint folder, of a config.json, or of a model on the hub.

    :raises TtfamilyError: if there is none.
    """
    file = Path(model).expanduser()
    if not file.is_file():
        return HfConfig.from_folder(checkpoint_folder(model, revision, files=[CONFIG]))
    if file.name == CONFIG:
        return HfConfig.from_folder(file.parent)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(file, Path(folder) / CONFIG)
        return HfConfig.from_folder(folder)


def _name(model: str) -> str:
    path = Path(model).expanduser()
    if not path.exists():
        return model
    return path.resolve().parent.name if path.name == CONFIG else path.resolve().stem


def _check_place(html: Path) -> None:
    if not html.parent.is_dir():
        raise RequestError(
            "--html",
            got=f"{html}, in a folder that does not exist",
            expected="a file in a folder that does",
            fix="Make the folder, or choose another.",
        )
