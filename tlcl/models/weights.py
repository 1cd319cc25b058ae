"""Where a backbone's weights come from: ImageNet, a file, a previous run; always plain tensors."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tlcl.config.rules import no_kept_head
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone, Blocks
from tlcl.security.untrusted import recorded_labels
from tlcl.system.safe_load import NotTensors, load_tensors

RUN_MODEL = "model.safetensors"


@dataclass(frozen=True)
class Origin:
    """What was loaded: the `model.weights` value, the file if there was one, and its SHA-256."""

    source: str
    path: str | None = None
    sha256: str | None = None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a .pth/.pt/.ckpt file read with weights_only=True.

    A dict with the key `state_dict` (or `model`) is unwrapped; `module.` prefixes are dropped.

    Raises:
        UserError: no such file, not a file of tensors, or one that would run code on loading.
    """
    if not path.is_file():
        raise UserError(
            f"model.weights={path} does not exist; give letters, imagenet, none, a .pth or .safetensors file, "
            "or a tlcl run directory"
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = load_tensors(path)
    except SafetensorError:
        raise UserError(
            f"model.weights={path} is not loaded: it is no whole .safetensors file; give a file of tensors alone"
        ) from None
    except (NotTensors, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"model.weights={path} is not loaded: {reason}; give a file of tensors alone") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"model.weights={path} must hold a state_dict: names to tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_backbone(
    net: Blocks, backbone: Backbone, state: dict[str, Tensor], source: str, *, cut: bool = False
) -> None:
    """Put `state` (native or foreign keys) into every block of `net` but the head.

    Args:
        cut: the network has been cut: what the state holds of the blocks behind is left.

    Raises:
        UserError: keys or shapes that do not match, or numbers that are not finite; the sentence names the first.
    """
    native = backbone.adapt({backbone.foreign_key(key): value for key, value in state.items()})
    wanted = {
        key: backbone.native_key(key)
        for key in net.state_dict()
        if not backbone.native_key(key).startswith(backbone.head)
    }
    body = {key for key in native if not key.startswith(backbone.head)}
    # A counter that old files lack and that no computation here reads.
    lacking = sorted(key for key in set(wanted.values()) - body if not key.endswith("num_batches_tracked"))
    extra = [] if cut else sorted(body - set(wanted.values()))
    if lacking or extra:
        problem = f"lacks {lacking[0]!r}" if lacking else f"has the unknown {extra[0]!r}"
        raise UserError(
            f"model.weights={source} does not fit model.name={backbone.name}: it {problem} "
            f"({len(lacking)} missing, {len(extra)} unknown)"
        )
    mine = net.state_dict()
    for key, name in wanted.items():
        if name in native and not native[name].isfinite().all():
            raise UserError(f"model.weights={source} is damaged: {name!r} holds numbers that are NaN or infinite")
        if name in native and mine[key].shape != native[name].shape:
            raise UserError(
                f"model.weights={source} does not fit: {name} is {tuple(native[name].shape)}, "
                f"the model needs {tuple(mine[key].shape)} ({_why(backbone)})"
            )
    net.load_state_dict({key: native[name] for key, name in wanted.items() if name in native}, strict=False)


def _why(backbone: Backbone) -> str:
    if backbone.code.startswith("timm "):
        return "are model.arch and model.input_size those it was trained with?"
    return "is model.stem the one it was trained with?"


def apply_weights(net: Blocks, backbone: Backbone, weights: str, *, cut: bool = False) -> Origin:
    """Load what `model.weights` names into `net` (all but its new head) and say what it was.

    Raises:
        UserError: the weights cannot be had or do not fit.
    """
    if weights == "none":
        return Origin("none")
    if weights in ("imagenet", "pretrained"):
        load_backbone(net, backbone, backbone.imagenet(), weights, cut=cut)
        return Origin(weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / RUN_MODEL).is_file():
            raise UserError(
                f"model.weights={path} is a folder without {RUN_MODEL}; give the directory of a finished run"
            )
        path = path / RUN_MODEL
    load_backbone(net, backbone, read_state(path), weights, cut=cut)
    return Origin(weights, str(path), file_sha256(path))


def load_kept_head(net: Blocks, backbone: Backbone, weights: str, classes: Sequence[str]) -> None:
    """Put the trained head of a run into `net`, whose outputs stand for `classes`, whatever their order in the run.

    Raises:
        UserError: `weights` is no run directory, or its run had other classes.
    """
    path = Path(weights).expanduser()
    if not (path / "labels.json").is_file():
        raise no_kept_head(weights)
    # A folder's name written on a Mac has another form of Unicode than elsewhere.
    known = [unicodedata.normalize("NFC", name) for name in recorded_labels(path).classes]
    wanted = [unicodedata.normalize("NFC", name) for name in classes]
    if sorted(known) != sorted(wanted):
        raise UserError(
            f"continual.head=kept: {path} was trained on the classes {', '.join(known)}, "
            f"the data has {', '.join(classes)}"
        )
    state = read_state(path / RUN_MODEL)
    head = {key: backbone.native_key(key) for key in net.head_keys()}
    rows = torch.tensor([known.index(name) for name in wanted])
    net.load_state_dict({key: state[name][rows] for key, name in head.items()}, strict=False)
