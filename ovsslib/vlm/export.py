"""A BLIP matcher as one ONNX file: attention of every layer and head, and its gradient.

The gradient is part of the graph, so whatever runs ONNX (a browser, a phone, C++) can make GradCAM
maps without a framework that differentiates. The way there: `make_fx` records the forward and the
backward pass as plain operators, `torch.export` takes that record, and PyTorch's ONNX exporter
translates it. `torch.export` alone refuses `autograd.grad`.

Letters: L layers, A heads, T text tokens, P patches, S side in pixels.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher

INPUTS = ("pixels", "ids")
OUTPUTS = ("logits", "attention", "gradient")
_MOST = 1 << 31
"""Bytes that one ONNX file can hold."""
_SHORT = 64
"""Constants with fewer numbers are left as they are."""


def export_onnx(matcher: ImageTextMatcher, image_size: int | None = None) -> bytes:
    """A matcher as one ONNX file for one image and one text.

    The graph's inputs are `pixels` (1, 3, S, S) float32, as `matcher.preprocess` gives them, and
    `ids` (1, T) int64, as `matcher.tokenize` gives them, of any length. Its outputs are `logits`
    (1, 2), `attention` (1, L, A, T, 1+P), the probabilities, and `gradient`, the match logit's
    derivative by them. Only operators of ONNX's own set are used. Weights that float16 holds
    exactly are stored so, and computed with in float32.

    Args:
        matcher: A BLIP in float32 on the CPU.
        image_size: Side S of its input; None takes the model's own.

    Returns:
        The file's content.

    Raises:
        OvssError: It is another model, has another type or place, is too large for one file, the
            side is not a multiple of the patch, or the packages of the extra `export` are missing.
    """
    if not isinstance(matcher, BlipMatcher) or matcher.device.type != "cpu":
        raise OvssError(
            f"{matcher.name} cannot be exported: give a BLIP on the CPU, such as micro-blip"
        )
    if matcher.dtype != torch.float32:
        raise OvssError(f"{matcher.name} computes in {matcher.dtype}; load it in float32")
    weights = sum(each.numel() * each.element_size() for each in matcher.model.parameters())
    if 2 * weights > _MOST:  # the backward pass has some of them a second time, transposed
        raise OvssError(
            f"{matcher.name} has {weights / 1e9:.1f} GB of weights, too many for one ONNX file"
        )
    try:
        import onnx
        import onnxscript  # noqa: F401 - what torch.onnx translates with
    except ImportError as error:
        raise OvssError(f"{error}; install them: pip install 'ovsslib[export]'") from None
    pixels = matcher.preprocess([Image.new("RGB", (1, 1))], image_size)
    example = pixels, torch.full((1, 9), matcher._pad)
    with own_state(), _quiet():
        program: Any = torch.onnx.export(
            _record(matcher, example),
            dynamo=True,
            external_data=False,  # a browser would look for a second file
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
        )
    buffer = io.BytesIO()
    onnx.save_model(_slim(program.model_proto), buffer)
    return buffer.getvalue()


def describe(matcher: Any) -> dict[str, Any]:
    """What a program needs beside the graph to prepare its inputs.

    Args:
        matcher: The `ovsslib.vlm.matcher.Matcher` that was exported.

    Returns:
        JSON values: sizes, colours (`image_mean`, `image_std`) and `tokenizer`, the content of a
        `tokenizer.json`.
    """
    return {
        "model": matcher.name,
        "image_size": matcher.image_size,
        "patch_size": matcher.patch_size,
        "layers": matcher.layers,
        "heads": matcher.heads,
        "max_tokens": matcher.max_tokens,
        "image_mean": list(matcher.image_mean),
        "image_std": list(matcher.image_std),
        "tokenizer": json.loads(matcher.tokenizer.to_str()),
    }


def _record(matcher: BlipMatcher, example: tuple[torch.Tensor, torch.Tensor]) -> Any:
    """The forward and the backward pass as an exported program."""
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.nn.attention import SDPBackend, sdpa_kernel

    net, first = matcher.model, torch.tensor([[matcher._enc]])
    decompositions: Any = core_aten_decompositions()

    def read(pixels: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        image = net.vision_model(pixels)
        ids = torch.cat([first, ids[:, 1:]], dim=1)
        with torch.enable_grad():
            watched = range(1, matcher.layers + 1)
            hidden, maps = net.text_encoder.read(ids, None, image.detach(), watched, True)
            logits = net.itm_head(hidden[:, 0])
            slopes = torch.autograd.grad(logits[:, 1].sum(), maps)
        together = [torch.stack([each.detach() for each in one], 1) for one in (maps, slopes)]
        return logits.detach(), *together

    # Fused attention has no form in ONNX; with symbols for sizes the text may have any length.
    with sdpa_kernel(SDPBackend.MATH):
        graph = make_fx(
            read,
            decomposition_table=decompositions,
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
        )(*example)
    length = torch.export.Dim("T", min=3, max=matcher.max_tokens)
    return torch.export.export(graph, example, dynamic_shapes=({}, {1: length}), strict=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about itself from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _slim(model: Any) -> Any:
    """The same graph without notes, repeated constants, and bits that hold nothing.

    Args:
        model: An `onnx.ModelProto`; not changed.

    Returns:
        A new one.
    """
    import onnx
    from onnx import helper, numpy_helper

    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    kept, casts = [], []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        key = (values.dtype, values.shape, values.tobytes())
        same[constant.name] = first.setdefault(key, constant.name)
        if same[constant.name] != constant.name:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16) if values.dtype == np.float32 else values
        if values.size >= _SHORT and half is not values and (half == values).all():
            name = f"{constant.name}.half"
            kept.append(numpy_helper.from_array(half, name))
            casts.append(
                helper.make_node("Cast", [name], [constant.name], to=onnx.TensorProto.FLOAT)
            )
        else:
            kept.append(constant)
    nodes = [*casts, *graph.node]
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [same.get(name, name) for name in node.input]
    for field, values in (("initializer", kept), ("node", nodes)):
        whole = [type(each).FromString(each.SerializeToString()) for each in values]
        graph.ClearField(field)
        getattr(graph, field).extend(whole)
    graph.ClearField("value_info")
    del graph.metadata_props[:], out.metadata_props[:]
    onnx.checker.check_model(out, full_check=True)
    return out
