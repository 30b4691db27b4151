"""A folder of safetensors: which tensors it holds, checked when it is opened, read one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
from safetensors import SafetensorError, safe_open

from ttfamily.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import KeysView, Mapping
    from os import PathLike
    from types import TracebackType

    from typing_extensions import Self

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# https://github.com/huggingface/safetensors#format
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LENGTH_BYTES = 8
_AGAIN = "Download the file again; a broken download is the usual cause."


@attrs.frozen(kw_only=True)
class TensorInfo:
    """What a header says about a tensor; ``file`` is None where there is no data behind it."""

    file: Path | None
    shape: tuple[int, ...]
    dtype: torch.dtype


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
            damaged, or lacks a tensor that the index places in it.
        """
        folder = Path(folder)
        if (folder / SINGLE).is_file():
            tensors = _read_header(folder / SINGLE)
        elif (folder / INDEX).is_file():
            tensors = _read_shards(folder)
        else:
            raise _no_weights(folder)
        return cls(tensors, source=str(folder), device=device)

    @classmethod
    def of_config(cls, raw_config: Mapping[str, Any]) -> Self:
        """Stand in for the checkpoint that a config describes, on the meta device.

        Names, shapes and dtype are those of transformers' own model; a tied head appears once.

        :raises ConfigError: if transformers has no causal language model for the config.
        """
        # Here, because transformers takes seconds to import and a folder needs none of it.
        from transformers import AutoConfig, AutoModelForCausalLM

        known = {key: value for key, value in raw_config.items() if key != "model_type"}
        try:
            config = AutoConfig.for_model(str(raw_config.get("model_type")), **known)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except ValueError as error:
            raise ConfigError(
                "model_type",
                got=f"{raw_config.get('model_type')!r} ({error})",
                expected="a causal language model that transformers knows",
                fix="Open the checkpoint's folder instead.",
            ) from error
        seen: dict[int, str] = {}
        for name, value in model.state_dict(keep_vars=True).items():
            seen.setdefault(id(value), name)
        tensors = {
            name: TensorInfo(file=None, shape=tuple(value.shape), dtype=value.dtype)
            for name, value in model.state_dict(keep_vars=True).items()
            if seen[id(value)] == name
        }
        return cls(tensors, source=f"the config of {type(model).__name__}", device="meta")

    @property
    def names(self) -> KeysView[str]:
        """Every tensor's name, as a set."""
        return self._tensors.keys()

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor.

        :returns: in the stored shape and dtype, on :attr:`device`.
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
        if self.device == "meta" or info.file is None:
            return torch.empty(info.shape, dtype=info.dtype, device="meta")
        if info.file not in self._files:
            self._files[info.file] = _opened(info.file)
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


def _read_shards(folder: Path) -> dict[str, TensorInfo]:
    index = folder / INDEX
    try:
        places = {name: str(file) for name, file in json.loads(index.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = f"a damaged index ({type(error).__name__}: {error})"
        raise CheckpointError(str(index), got=got, expected="a JSON object with a weight_map", fix=_AGAIN) from error
    files = {place: folder / place for place in sorted(set(places.values()))}
    for place, file in files.items():
        # A name with a folder in it would let the index point outside the checkpoint.
        if Path(place).name != place or not file.is_file():
            raise CheckpointError(
                str(index),
                got=f"no shard {place}",
                expected=f"all of its {len(files)} shards in the same folder",
                fix="Download the missing shard; 'hf download' fetches only what is not there yet.",
            )
    headers = {place: _read_header(file) for place, file in files.items()}
    for name, place in places.items():
        if name not in headers[place]:
            expected = f"the tensor that {INDEX} places in it"
            raise CheckpointError(str(files[place]), got=f"no tensor {name}", expected=expected, fix=_AGAIN)
    # A tensor that the index leaves out is kept, to be reported as unused rather than dropped in silence.
    tensors = {name: info for header in headers.values() for name, info in header.items()}
    return tensors | {name: headers[place][name] for name, place in places.items()}


def _read_header(file: Path) -> dict[str, TensorInfo]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES)
        if start.startswith(b"version"):
            fix = "Run 'git lfs pull' in the folder."
            raise CheckpointError(str(file), got="a git-lfs pointer", expected="the weights it points at", fix=fix)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or _LENGTH_BYTES + length > size:
            got = f"{size} bytes, cut short within the header"
            raise CheckpointError(str(file), got=got, expected="a whole safetensors file", fix=_AGAIN)
        header_text = stream.read(length)
    try:
        header = json.loads(header_text)
        header.pop("__metadata__", None)
        end = _LENGTH_BYTES + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        unknown = sorted({entry["dtype"] for entry in header.values()} - DTYPES.keys())
        tensors = {
            name: TensorInfo(file=file, shape=tuple(map(int, entry["shape"])), dtype=DTYPES[entry["dtype"]])
            for name, entry in header.items()
            if not unknown
        }
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        got = f"a damaged header ({type(error).__name__}: {error})"
        raise CheckpointError(str(file), got=got, expected="a safetensors header", fix=_AGAIN) from error
    if end != size:
        got = f"{size} bytes, {'cut short' if size < end else 'too many'}"
        raise CheckpointError(str(file), got=got, expected=f"{end} bytes, as its header says", fix=_AGAIN)
    if unknown:
        got, expected = f"tensors of type {', '.join(unknown)}", f"only {', '.join(DTYPES)}"
        fix = "Take a checkpoint in bfloat16; ttfamily quantises on its own (precision=)."
        raise CheckpointError(str(file), got=got, expected=expected, fix=fix)
    _opened(file).__exit__(None, None, None)
    return tensors


def _opened(file: Path) -> Any:
    try:
        # safetensors checks the rest: that shapes, types and offsets agree and leave no gap.
        return safe_open(str(file), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        got = f"a damaged file ({error})"
        raise CheckpointError(str(file), got=got, expected="a safetensors file", fix=_AGAIN) from error
