"""Keras's attention layers: each step of one sequence becomes a weighted mean of the steps of another.

Source: the documentation of `keras.layers`; Vaswani et al. 2017, Luong et al. 2015, Bahdanau et al. 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.convolutions import Made, same
from mlpipe.arch.keras.layers.noise import share
from mlpipe.arch.keras.layers.reading import Keys, Shape, Slot

Masks = Sequence[Tensor | None]


def _allowed(scores: Tensor, masks: Masks, is_causal: bool, *, by_query: bool) -> Tensor | None:
    """Return the attention mask, shape (n or 1, queries, values); None: no restriction."""
    attention_mask: Tensor | None = None
    mask_axes = [(0, -1), (1, -2), (2, -2)] if by_query else [(1, -2)]
    for number, axis in mask_axes:
        mask = masks[number] if number < len(masks) else None
        if mask is not None:
            attention_mask = mask.unsqueeze(axis) if attention_mask is None else attention_mask & mask.unsqueeze(axis)
    if is_causal:
        earlier = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril().unsqueeze(0)
        attention_mask = earlier if attention_mask is None else attention_mask & earlier
    return attention_mask


class MultiHead(nn.Module):
    """Multi-head attention (MultiHeadAttention).

    Args:
        sizes: Channels of query, value and key.
        heads: Number of heads.
        key_size: Size of queries and keys per head.
        value_size: Size of values per head.
        outputs: Output channels.
        bias: Whether projections have a bias.
        dropout: Dropout rate of the attention weights.
        is_causal: Whether a step attends to no later step.

    Attributes:
        keeps_marks: The step mask of the query also applies to the output.
    """

    keeps_marks = True

    def __init__(
        self,
        sizes: tuple[int, int, int],
        *,
        heads: int,
        key_size: int,
        value_size: int,
        outputs: int,
        bias: bool,
        dropout: float,
        is_causal: bool,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.is_causal = heads, dropout, is_causal
        self.query = nn.Linear(sizes[0], heads * key_size, bias=bias)
        self.key = nn.Linear(sizes[2], heads * key_size, bias=bias)
        self.value = nn.Linear(sizes[1], heads * value_size, bias=bias)
        self.output = nn.Linear(heads * value_size, outputs, bias=bias)

    def forward(self, query: Tensor, value: Tensor, key: Tensor | None = None, *, masks: Masks = ()) -> Tensor:
        """Return shape (n, outputs, steps of the query); all inputs are (n, channels, steps)."""
        masks = masks if key is not None else masks[:2]
        parts = zip((self.query, self.key, self.value), (query, value if key is None else key, value), strict=True)
        queries, keys, values = (self._apart(layer(x.transpose(1, 2))) for layer, x in parts)
        scores = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
        allowed = _allowed(scores, masks, self.is_causal, by_query=True)
        if allowed is not None:
            scores = scores.masked_fill(~allowed.unsqueeze(1), torch.finfo(scores.dtype).min)
        fits = F.dropout(scores.softmax(-1), self.dropout, self.training)
        outputs: Tensor = self.output((fits @ values).transpose(1, 2).flatten(2))
        return outputs.transpose(1, 2)

    def _apart(self, x: Tensor) -> Tensor:
        """Split (n, steps, heads x size) into shape (n, heads, steps, size)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """Attention without projections of its inputs (Attention, AdditiveAttention).

    Args:
        way: `dot`: products of queries and keys; `concat`: the tanh of their sums, summed over channels.
        scaled: Size of a learned factor of the scores or of each channel; 0: none.
        weighted: Whether `concat` scores have a learned factor.
        dropout: Dropout rate of the attention weights.
        is_causal: Whether a step attends to no later step.

    Attributes:
        keeps_marks: The step mask of the query also applies to the output.
    """

    keeps_marks = True

    def __init__(self, way: str, scaled: int, weighted: bool, dropout: float, is_causal: bool) -> None:
        super().__init__()
        self.way, self.dropout, self.is_causal = way, dropout, is_causal
        self.scale = nn.Parameter(torch.ones(scaled)) if scaled else None
        self.weight = nn.Parameter(torch.ones(1)) if weighted else None

    def forward(self, query: Tensor, value: Tensor, key: Tensor | None = None, *, masks: Masks = ()) -> Tensor:
        """Return shape (n, channels of the value, steps of the query); all inputs are (n, channels, steps)."""
        queries, keys = query.transpose(1, 2), (value if key is None else key).transpose(1, 2)
        if self.way == "dot":
            scores = queries @ keys.transpose(1, 2)
            scores = scores if self.scale is None else scores * self.scale
        else:
            sums = queries.unsqueeze(2) + keys.unsqueeze(1)
            if self.weight is None:
                # Bahdanau's attention: a factor for each channel.
                activations = torch.tanh(sums)
                scores = (activations if self.scale is None else activations * self.scale).sum(-1)
            else:
                scores = self.weight * torch.tanh(sums if self.scale is None else sums * self.scale).sum(-1)
        allowed = _allowed(scores, masks, self.is_causal, by_query=False)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        outputs = F.dropout(scores.softmax(-1), self.dropout, self.training) @ value.transpose(1, 2)
        if masks and masks[0] is not None:
            outputs = outputs * masks[0].unsqueeze(-1)
        return outputs.transpose(1, 2)


def multi_head(keys: Keys, shapes: Sequence[Shape]) -> Made:
    """MultiHeadAttention, for (steps, channels)."""
    sizes = _sizes(keys, shapes)
    heads, key_size = keys.count("num_heads"), keys.count("key_dim")
    value_size, bias = keys.count("value_dim", key_size), keys.flag("use_bias", True)
    outputs = keys.sizes("output_shape", 1, sizes[0])[0]
    keys.only("attention_axes", [1], (1,), fix="leave it out: attention is along the steps")
    for key in ("query_shape", "key_shape", "value_shape"):
        # Build shapes of Keras 2; the network implies them.
        keys.value(key, None)
    for key, usual in (("flash_attention", False), ("sliding_window", None), ("use_gate", False)):
        keys.only(key, usual)
    module = MultiHead(
        sizes, heads=heads, key_size=key_size, value_size=value_size, outputs=outputs, bias=bias,
        dropout=share(keys, "dropout", 0.0), is_causal=_is_causal(keys),
    )  # fmt: skip
    start, zero = keys.initializer("kernel_initializer", "GlorotUniform"), keys.initializer("bias_initializer", "Zeros")
    slots: dict[str, Slot] = {}
    parts = (("query", sizes[0], key_size), ("key", sizes[2], key_size), ("value", sizes[1], value_size))
    for name, size, width in parts:
        slots[f"{name}_kernel"] = Slot(f"{name}.weight", (size, heads, width), _joined_last, start)
        if bias:
            slots[f"{name}_bias"] = Slot(f"{name}.bias", (heads, width), torch.flatten, zero)
    slots["output_kernel"] = Slot("output.weight", (heads, value_size, outputs), _joined_first, start)
    return module, slots | ({"output_bias": Slot("output.bias", (outputs,), same, zero)} if bias else {})


def _joined_last(kernel: Tensor) -> Tensor:
    return kernel.flatten(1).T


def _joined_first(kernel: Tensor) -> Tensor:
    return kernel.flatten(0, 1).T


def attention(keys: Keys, shapes: Sequence[Shape]) -> Made:
    """Attention and AdditiveAttention, for (steps, channels)."""
    sizes = _sizes(keys, shapes)
    is_additive = keys.kind == "AdditiveAttention"
    way = "concat" if is_additive else keys.choice("score_mode", ("dot", "concat"), "dot")
    scaled = keys.flag("use_scale", is_additive)
    width = 0 if not scaled else sizes[0] if is_additive else 1
    weighted = way == "concat" and not is_additive
    module: nn.Module = Attention(way, width, weighted, share(keys, "dropout", 0.0), _is_causal(keys))
    first = keys.initializer("scale_initializer", "GlorotUniform" if is_additive else "Ones")
    slots = {"scale": Slot("scale", (width,) if is_additive else (), _of_one, first)} if scaled else {}
    last = keys.initializer("concat_score_weight_initializer", "Ones")
    return module, slots | ({"concat_score_weight": Slot("weight", (), _of_one, last)} if weighted else {})


def _of_one(number: Tensor) -> Tensor:
    return number.reshape(-1)


def _sizes(keys: Keys, shapes: Sequence[Shape]) -> tuple[int, int, int]:
    """Return the channels of query, value and key."""
    if not 2 <= len(shapes) <= 3:
        keys.wrong("inbound_nodes", "must name query and value, perhaps a key", got=len(shapes))
    query, value, key = (keys.rank(shape, 1) for shape in (*shapes, shapes[1])[:3])
    return query, value, key


def _is_causal(keys: Keys) -> bool:
    """Return whether attention is causal, according to the call or, in early versions, the layer."""
    keys.only("return_attention_scores", False)
    called, own = keys.flag("use_causal_mask", False), keys.flag("causal", False)
    return called or own
