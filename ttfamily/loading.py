"""``load``: from a name or folder to a model on a mesh, top to bottom."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from ttfamily.core.config.hf_config import HfConfig
from ttfamily.core.config.precision_policy import policy
from ttfamily.core.mesh.mesh import Mesh, check_numerics, open_mesh
from ttfamily.core.weights.checkpoint import Checkpoint
from ttfamily.core.weights.headers import INDEX
from ttfamily.core.weights.sizes import check_sizes
from ttfamily.core.weights.weights import Weights
from ttfamily.discovery import families
from ttfamily.errors import FamilyError, PluginError, first_line
from ttfamily.family import Family
from ttfamily.generation_config import eos_token_ids
from ttfamily.hub import checkpoint_folder
from ttfamily.load_arguments import load_arguments
from ttfamily.progress import Progress
from ttfamily.tokenizer import load_tokenizer
from ttfamily.ttnn_log import quiet_ttnn

if TYPE_CHECKING:
    from pathlib import Path

    from ttfamily.core.config.precision_policy import PrecisionPolicy
    from ttfamily.core.config.spec import ModelSpec
    from ttfamily.core.layout.schemes import Scheme
    from ttfamily.model import Model
    from ttfamily.registry import FamilyRegistry

log = logging.getLogger("ttfamily")


def load(
    name_or_folder: str | Path,
    *,
    mesh: str | Mesh = "n150",
    device: str = "auto",
    precision: str | Path | PrecisionPolicy = "accuracy",
    max_batch_size: int = 32,
    max_seq_len: int | None = None,
    scheme: Scheme | None = None,
    warm_up: bool = True,
    revision: str | None = None,
    family: str | Family | None = None,
    registry: FamilyRegistry | None = None,
    numerics: Literal["fast", "engine"] = "fast",
) -> Model:
    """Load a Hugging Face model onto a Tenstorrent mesh.

    :param name_or_folder: a local folder, or a model id on the Hugging Face hub.
    :param mesh: a board (``n150``, ``n300``, ``t3k``, ``galaxy``, ``p100``, ``p150``, ``p300``), rows and columns of
        chips (``2x4``), or either with replicas (``t3k/dp4``); or an open :class:`~ttfamily.core.mesh.mesh.Mesh`,
        which stays open when the model is closed.
    :param device: ``hardware``, ``simulated`` (real numbers on any machine), ``dry`` (no numbers: does
        it fit?), or ``auto``.
    :param precision: ``accuracy``, ``performance``, a JSON file (docs/precision.md), or a :class:`PrecisionPolicy`.
    :param max_batch_size: users at once, of all replicas together: 1 to 32 for each.
    :param max_seq_len: tokens of a prompt and its continuation; by default the model's own limit, or
        what fits in DRAM beside the weights if that is less.
    :param scheme: how the residual stream lies over the devices: ``replicated``, ``fractured`` (along one row of
        chips) or ``two_dimensional`` (on a mesh of two axes); by default whatever moves the fewest bytes.
    :param warm_up: run everything that can run once, which compiles every program, and capture the decode step, so
        that no program is compiled later. False, for a look at a few ops: it decodes op by op.
    :param revision: of a hub model.
    :param family: the name of a family, or ``package:family``, where several claim the architecture; or
        a :class:`Family` to use without looking it up.
    :param registry: where to look; by default the installed plugins.
    :param numerics: how a simulated mesh adds products: ``fast``, or ``engine``, as the matrix engine does
        (:func:`~ttfamily.core.mesh.mesh.open_mesh`).
    :returns: the model, a context manager.
    :raises TtfamilyError: if anything on the way is missing, damaged or does not fit.
    """
    mesh, max_batch_size, max_seq_len = load_arguments(mesh, max_batch_size, max_seq_len)
    folder = checkpoint_folder(name_or_folder, revision)
    config = HfConfig.from_folder(folder)
    # A family that is given needs no plugin to be found, so none is imported for it.
    installed = families() if registry is None and not isinstance(family, Family) else registry
    family = choose_family(config, family, installed)
    spec = read_spec(config, family)
    formats = policy(precision)
    # Whatever is small is read before the weights, which can take minutes.
    tokenizer = load_tokenizer(folder, config)
    ends = eos_token_ids(folder, config, spec.vocab_size)
    if has_weights(folder):
        with Checkpoint.open(folder) as headers:
            check_sizes(headers, family, spec)
    quiet_ttnn()
    if isinstance(mesh, Mesh):
        check_numerics(numerics, mesh.kind, mesh.numerics)
        opened = mesh
    else:
        opened = open_mesh(mesh, device, installed.boards if installed else (), numerics=numerics)
    keep_open = opened is mesh
    try:
        from ttfamily.builder import Limits, build
        from ttfamily.model import Model

        with open_checkpoint(folder, config, opened) as checkpoint:
            limits = Limits(max_batch_size=max_batch_size, max_seq_len=max_seq_len, scheme=scheme)
            transformer = build(spec, family.blocks, opened, formats, limits)
            weights = Weights(checkpoint, family, spec)
            with Progress(f"Loading {folder.name}") as progress:
                transformer.load(weights, progress)
            weights.finish()
        model = Model(transformer, tokenizer=tokenizer, eos_token_ids=ends, keep_mesh_open=keep_open)
        return _ready(model, folder.name, warm_up=warm_up)
    except BaseException:
        if not keep_open:
            opened.close()
        raise


def _ready(model: Model, name: str, *, warm_up: bool) -> Model:
    if warm_up:
        with Progress(f"Warming up {name}") as progress:
            model.runner.warm_up(progress)
    used, total = (size / 2**30 for size in model.mesh.dram_bytes())
    what = "%s on %s: %.2f of %.2f GiB of DRAM used on each chip, %d programs compiled"
    log.info(what, name, model.mesh.name, used, total, model.runner.programs)
    return model


def read_spec(config: HfConfig, family: Family) -> ModelSpec:
    """Return what a family makes of a config.

    :raises ConfigError: if something in the config cannot be, or nothing in the family understood it.
    :raises PluginError: if the family's ``spec`` fails.
    """
    try:
        spec = family.spec(config)
    except (ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise PluginError(
            f"family {family.name}, spec()",
            got=f"{type(error).__name__}: {first_line(error)}",
            expected=f"a ModelSpec of {config.source}, or a ConfigError that names the key",
            fix="Correct a value of config.json that cannot be; if all of them can, correct the family's spec().",
        ) from error
    config.finish()
    return spec


def open_checkpoint(folder: Path, config: HfConfig, mesh: Mesh) -> Checkpoint:
    """Open the weights; a dry mesh needs none: config.json says what shapes they would have."""
    if mesh.host_device == "meta" and not has_weights(folder):
        return Checkpoint.of_config(config.raw)
    return Checkpoint.open(folder, mesh.host_device)


def has_weights(folder: Path) -> bool:
    """Whether a folder has safetensors files, or their index."""
    return any(folder.glob("*.safetensors")) or (folder / INDEX).exists()


def choose_family(config: HfConfig, family: str | Family | None, registry: FamilyRegistry | None) -> Family:
    """Return the family that reads this config; the arguments are those of :func:`load`.

    :raises FamilyError: if no family, or not the one that was asked for, knows the architecture.
    :raises FamilyConflict: if several do and ``family`` does not decide.
    """
    if not isinstance(family, Family):
        return (registry or families()).for_architecture(config.architecture, family)
    if config.architecture not in family.architectures:
        raise FamilyError(
            config.architecture,
            got=f"the family {family.name!r}, which stands for {', '.join(family.architectures)}",
            expected="a family with this architecture",
            fix="Pass another family, or add the architecture to this one if its graph is the same.",
        )
    return family
