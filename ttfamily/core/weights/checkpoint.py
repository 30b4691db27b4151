"""A folder of safetensors: which tensors it holds, checked when it is opened, read one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ttfamily.core.weights.headers import INDEX, SINGLE, TensorInfo, open_file, read_header, read_shards
from ttfamily.core.weights.meta_model import tensors_of_config
from ttfamily.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import KeysView, Mapping
    from os import PathLike
    from types import TracebackType

    from typing_extensions import Self


class Checkpoint:
    """Tensors by name, read when they are asked for, in the dtype they were stored in.

    Make one with :meth:`open` or :meth:`of_config`, and close it (it is a context manager).

    :param source: the folder, or what stands for it, for messages.
    :param device: ``cpu``, or ``meta`` for tensors that have a shape and a dtype and no data.
    """

    def __init__(self, tensors: Mapping[str, TensorInfo], *, source: str, device: Literal["cpu", "meta"]) -> None:
        self.source = source
        self.device = device
        self._tensors = dict(tensors)
        self._files: dict[Path, Any] = {}

    @classmethod
    def open(cls, folder: str | PathLike[str], device: Literal["cpu", "meta"] = "cpu") -> Self:
        """Look at every file's header and length; read no tensor.

        :param folder: holds model.safetensors, or model.safetensors.index.json and its shards.
        :raises CheckpointError: if there are no weights in it, a shard is missing, cut short or
            damaged, lacks a tensor that the index places in it, or holds another than a second shard does.
        """
        folder = Path(folder)
        if (folder / SINGLE).is_file():
            tensors = read_header(folder / SINGLE)
        elif (folder / INDEX).is_file():
            tensors = read_shards(folder)
        else:
            raise _no_weights(folder)
        return cls(tensors, source=str(folder), device=device)

    @classmethod
    def of_config(cls, raw_config: Mapping[str, Any]) -> Self:
        """Stand in for the checkpoint that a config describes, on the meta device.

        Names, shapes and dtype are those that transformers' own model would save; a tied head appears once.

        :raises ConfigError: if transformers has no causal language model for the config, or refuses it.
        """
        kind, tensors = tensors_of_config(raw_config)
        return cls(tensors, source=f"the config of {kind}", device="meta")

    def outline(self) -> Checkpoint:
        """Return the same checkpoint on the meta device: shapes and dtypes, no data. It needs no closing."""
        return Checkpoint(self._tensors, source=self.source, device="meta")

    @property
    def names(self) -> KeysView[str]:
        """Every tensor's name, as a set."""
        return self._tensors.keys()

    def info(self, name: str) -> TensorInfo:
        """Return what the header says of a tensor.

        :raises CheckpointError: if there is none of this name.
        """
        info = self._tensors.get(name)
        if info is None:
            raise CheckpointError(
                self.source,
                got=f"no tensor {name}",
                expected=f"it among the {len(self._tensors)} tensors of the checkpoint",
                fix="Check that config.json belongs to these weights and that the download is complete.",
            )
        return info

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor.

        :returns: in the stored shape and dtype, on :attr:`device`.
        :raises CheckpointError: if there is none of this name.
        """
        info = self.info(name)
        if self.device == "meta" or info.file is None:
            return torch.empty(info.shape, dtype=info.dtype, device="meta")
        if info.file not in self._files:
            self._files[info.file] = open_file(info.file)
        tensor: torch.Tensor = self._files[info.file].get_tensor(name)
        return tensor

    def close(self) -> None:
        """Close the files; tensors that were read stay valid."""
        while self._files:
            self._files.popitem()[1].__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _no_weights(folder: Path) -> CheckpointError:
    if not folder.is_dir():
        got, fix = "no such folder", "Check the path."
    elif pickled := sorted(file.name for suffix in ("*.bin", "*.pt", "*.pth") for file in folder.glob(suffix)):
        got = f"only {', '.join(pickled)}"
        fix = (
            "Convert the weights to safetensors: load them with transformers and call "
            "save_pretrained(folder). Pickled files can run code when they are read, so ttfamily does not."
        )
    else:
        others = ", ".join(sorted(file.name for file in folder.glob("*.safetensors")))
        got, fix = f"only {others}" if others else "no weights", "Point at the folder that holds the whole model."
    return CheckpointError(str(folder), got=got, expected=f"{SINGLE} or {INDEX}", fix=fix)
