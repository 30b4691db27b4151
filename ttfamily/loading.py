"""``load``: from a name or folder to a model on a mesh, top to bottom."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfamily.core.checkpoint import Checkpoint
from ttfamily.core.hf_config import HfConfig
from ttfamily.core.mesh import Mesh, open_mesh
from ttfamily.core.precision import policy
from ttfamily.core.weights import Weights
from ttfamily.errors import CheckpointError, FamilyError
from ttfamily.family import Family
from ttfamily.registry import families

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedTokenizerBase

    from ttfamily.core.precision import PrecisionPolicy
    from ttfamily.core.schemes import Scheme
    from ttfamily.model import Model
    from ttfamily.registry import FamilyRegistry

log = logging.getLogger("ttfamily")

WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]


def load(
    name_or_folder: str | Path,
    *,
    mesh: str | Mesh = "n150",
    device: str = "auto",
    precision: str | Path | PrecisionPolicy = "accuracy",
    max_batch_size: int = 32,
    max_seq_len: int | None = None,
    scheme: Scheme | None = None,
    revision: str | None = None,
    family: str | Family | None = None,
    registry: FamilyRegistry | None = None,
) -> Model:
    """Load a Hugging Face model onto a Tenstorrent mesh.

    :param name_or_folder: a local folder, or a model id on the Hugging Face hub.
    :param mesh: a board (``n150``, ``n300``, ``t3k``, ``galaxy``, ``p150``), rows and columns of chips (``2x4``),
        or either with replicas (``t3k/dp4``); or an open :class:`~ttfamily.core.mesh.Mesh`, which stays open
        when the model is closed.
    :param device: ``hardware``, ``simulated`` (real numbers on any machine), ``dry`` (no numbers: does
        it fit?), or ``auto``.
    :param precision: ``accuracy``, ``performance``, a JSON file (docs/precision.md), or a :class:`PrecisionPolicy`.
    :param max_batch_size: users at once, of all replicas together: 1 to 32 for each.
    :param max_seq_len: tokens of a prompt and its continuation; by default the model's own limit, or
        what fits in DRAM beside the weights if that is less.
    :param scheme: how the residual stream lies over the devices: ``replicated``, ``fractured`` (along one row of
        chips) or ``two_dimensional`` (on a mesh of two axes); by default whatever moves the fewest bytes.
    :param revision: of a hub model.
    :param family: the name of a family, or ``package:family``, where several claim the architecture; or
        a :class:`Family` to use without looking it up.
    :param registry: where to look; by default the installed plugins.
    :returns: the model, a context manager.
    :raises TtfamilyError: if anything on the way is missing, damaged or does not fit.
    """
    folder = checkpoint_folder(name_or_folder, revision)
    config = HfConfig.from_folder(folder)
    # A family that is given needs no plugin to be found, so none is imported for it.
    installed = families() if registry is None and not isinstance(family, Family) else registry
    family = choose_family(config, family, installed)
    spec = family.spec(config)
    config.finish()
    formats = policy(precision)
    quiet_ttnn()
    opened = mesh if isinstance(mesh, Mesh) else open_mesh(mesh, device, installed.boards if installed else ())
    keep_open = opened is mesh
    try:
        from ttfamily.core.blocks import Blocks
        from ttfamily.core.plan import Plan
        from ttfamily.core.transformer import Transformer
        from ttfamily.model import Model

        plan = Plan.of(spec, opened, formats, max_batch_size=max_batch_size, max_seq_len=max_seq_len, scheme=scheme)
        with _open_checkpoint(folder, config, opened.host_device) as checkpoint, Progress(folder.name) as progress:
            weights = Weights(checkpoint, family, spec)
            transformer = Transformer(plan, weights, Blocks.of(spec, family.blocks), progress)
            weights.finish()
        used, total = (size / 2**30 for size in opened.dram_bytes())
        log.info("%s on %s: %.2f of %.2f GiB of DRAM used on each chip", folder.name, opened.name, used, total)
        return Model(
            transformer,
            tokenizer=load_tokenizer(folder),
            eos_token_ids=eos_token_ids(folder, config),
            keep_mesh_open=keep_open,
        )
    except BaseException:
        if not keep_open:
            opened.close()
        raise


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


def checkpoint_folder(
    name_or_folder: str | Path, revision: str | None = None, *, files: Sequence[str] = WANTED
) -> Path:
    """Return the local folder of a checkpoint, downloading a hub model if it is not in the hub's cache.

    :param files: patterns of what to download.
    :raises CheckpointError: if there is no such folder, or the hub has no such model or is out of reach.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    name = str(name_or_folder)
    if isinstance(name_or_folder, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise CheckpointError(
            name or "name_or_folder",
            got="no such folder",
            expected="a folder with config.json and safetensors files, or a model id of the Hugging Face hub",
            fix="Check the path.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except HFValidationError as error:
        got, expected = "neither a folder nor a model id", 'a folder, or an id like "owner/model"'
        raise CheckpointError(name, got=got, expected=expected, fix="Check it.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise CheckpointError(
            name,
            got="a model that is not in the local cache, and no way to the Hugging Face hub from here",
            expected="a connection, or a model downloaded before",
            fix="Download it where there is a connection and pass its folder, or check HF_HUB_OFFLINE.",
        ) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            name,
            got=f"the hub's answer: {str(error).splitlines()[0]}",
            expected="a model that exists and that you may read",
            fix='Check the id and revision; for a gated model accept its terms and run "hf auth login".',
        ) from error


def _open_checkpoint(folder: Path, config: HfConfig, host_device: Any) -> Checkpoint:
    """Open the weights; a dry mesh needs none: config.json says what shapes they would have."""
    if host_device == "meta" and not list(folder.glob("*.safetensors")):
        return Checkpoint.of_config(config.raw)
    return Checkpoint.open(folder, host_device)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the folder's tokenizer, or None if it has none.

    :raises CheckpointError: if it is damaged, or cannot be made without running code of the checkpoint.
    """
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        return None
    from transformers import AutoTokenizer

    try:
        # Unasked, transformers would offer to run the checkpoint's own code.
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        raise CheckpointError(
            str(folder / "tokenizer_config.json"),
            got=f"a tokenizer that transformers does not make ({str(error).splitlines()[0]})",
            expected="one of transformers' own, or tokenizer.json; code from a checkpoint is never run",
            fix="Save the tokenizer as tokenizer.json, or remove its files and pass token ids.",
        ) from error


def eos_token_ids(folder: Path, config: HfConfig) -> frozenset[int]:
    """Return the ids that end a text: those of generation_config.json, else of config.json."""
    ids = config.raw.get("eos_token_id")
    generation = folder / "generation_config.json"
    if generation.exists():
        ids = json.loads(generation.read_text()).get("eos_token_id", ids)
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def quiet_ttnn() -> None:
    """Keep ttnn's own log lines off the terminal: its errors reach the caller as exceptions."""
    from loguru import logger

    logger.disable("ttnn")


class Progress:
    """A bar on standard error while the layers load, where standard error is a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(f"Loading {name}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        """Show the bar; returns what to call with (done, total)."""
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()
