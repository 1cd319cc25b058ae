"""A network as one ONNX model that takes images as they are stored and gives probabilities."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.errors import UserError
from tlcl.models.inference import whole_batches

IMAGES, PROBABILITIES = "images", "probabilities"  # names of the model's input and output
BATCH = 64  # images at once in onnxruntime


class ClassProbabilities(nn.Module):
    """What is exported: normalisation, resize, network and softmax in one graph, in full precision.

    Args:
        net: uint8 images (N, C, H, W) -> logits (N, K), with its own `InputTransform`.
        temperature: by which the logits are divided.
    """

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float32 (N, K), rows sum to 1."""
        return (self.net(images) / self.temperature).softmax(1)


def require_onnx() -> None:
    """That the packages of the extra `export` are there.

    Raises:
        UserError: one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"a model is exported with the package {error.name}: pip install 'tlcl[export]'") from None


def to_onnx(net: ClassProbabilities, image_shape: tuple[int, int, int], about: Mapping[str, str]) -> bytes:
    """The ONNX model, a batch of any size in and out; `net` stays as it is.

    Args:
        image_shape: (C, H, W) of the images that it will take.
        about: its metadata.

    Raises:
        UserError: the network does something that ONNX, or torch's exporter, does not know.
    """
    images = torch.zeros((2, *image_shape), dtype=torch.uint8)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            copy.deepcopy(net).cpu().eval(),
            (images,),
            input_names=[IMAGES],
            output_names=[PROBABILITIES],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(f"the network has a part that cannot be exported to ONNX: {reason}") from None
    assert program is not None
    model: Any = program.model_proto
    for function in (model.graph, *model.functions):
        del function.metadata_props[:]
        for part in (*function.node, *function.value_info):
            del part.metadata_props[:]  # where in whose source code it was made
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def run_onnx(content: bytes, images: Tensor) -> Tensor:
    """What onnxruntime computes with the model on the processor: float32 (N, K).

    Args:
        images: uint8 (N, C, H, W), N at least 1.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        torch.from_numpy(session.run([PROBABILITIES], {IMAGES: images[part].numpy()})[0])
        for part in whole_batches(len(images), BATCH)
    ]
    return torch.cat(parts)
