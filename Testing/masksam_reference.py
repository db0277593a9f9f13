"""MaskSAM's encoder and adapters written down as their definitions read, with loops, in float64."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from torch import nn

Array = np.ndarray


def values(parameter: object) -> Array:
    return np.asarray(parameter.detach().numpy(), np.float64)  # type: ignore[attr-defined]


def linear(layer: nn.Linear, x: Array) -> Array:
    return x @ values(layer.weight).T + values(layer.bias)


def normed(layer: nn.Module, x: Array) -> Array:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.eps)  # type: ignore[operator]
    return scaled * values(layer.weight) + values(layer.bias)


def gelu(x: Array) -> Array:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def attention(layer: nn.Module, x: Array) -> Array:
    """SAM's attention over a square (s, s, C), one query and one key at a time."""
    s, _, width = x.shape
    channels = width // layer.heads  # type: ignore[operator]
    q, k, v = np.split(linear(layer.qkv, x), 3, axis=-1)  # type: ignore[arg-type]
    rows, columns = values(layer.rel_pos_h), values(layer.rel_pos_w)
    out = np.zeros_like(x)
    cells = list(product(range(s), range(s)))
    for head in range(layer.heads):  # type: ignore[arg-type]
        part = slice(head * channels, (head + 1) * channels)
        for a, b in cells:
            query = q[a, b, part]
            logits = np.array(
                [
                    query @ k[c, d, part] / np.sqrt(channels)
                    + query @ rows[a - c + s - 1]
                    + query @ columns[b - d + s - 1]
                    for c, d in cells
                ]
            )
            weights = np.exp(logits - logits.max())
            out[a, b, part] = (weights / weights.sum()) @ np.array([v[c, d, part] for c, d in cells])
    return linear(layer.proj, out)  # type: ignore[arg-type]


def dconv_adapter(layer: nn.Module, x: Array) -> Array:
    """A DConvAdapter over cells (D, h, w, C), its convolution as a sum of 27 shifted volumes."""
    reduced = gelu(linear(layer.down, x))  # type: ignore[arg-type]
    kernel, bias = values(layer.convolution.weight), values(layer.convolution.bias)  # type: ignore[union-attr]
    padded = np.pad(reduced, ((1, 1), (1, 1), (1, 1), (0, 0)))
    d, h, w, _ = reduced.shape
    mixed = np.zeros_like(reduced) + bias
    for i, j, k in product(range(3), repeat=3):
        mixed += padded[i : i + d, j : j + h, k : k + w] * kernel[:, 0, i, j, k]
    out = linear(layer.up, reduced + gelu(normed(layer.norm, mixed)))  # type: ignore[arg-type]
    return x + out if layer.skip else out


def dmlp_adapter(layer: nn.Module, x: Array) -> Array:
    """A DMLPAdapter over tokens (D, N, T, C), one query, token and channel at a time."""
    reduced = gelu(linear(layer.down, x))  # type: ignore[arg-type]
    mixed = np.zeros_like(reduced)
    for n, t, c in product(*(range(size) for size in reduced.shape[1:])):
        along = gelu(linear(layer.depth_in, reduced[:, n, t, c]))  # type: ignore[arg-type]
        mixed[:, n, t, c] = linear(layer.depth_out, along)  # type: ignore[arg-type]
    out = linear(layer.up, reduced + mixed)  # type: ignore[arg-type]
    return x + out if layer.skip else out


def block(layer: nn.Module, x: Array) -> Array:
    """One encoder block over tokens (D, g, g, C), windows cut one by one."""
    g = x.shape[1]
    s = layer.window or g
    attended = np.zeros_like(x)
    for slice_, top, left in product(range(len(x)), range(0, g, s), range(0, g, s)):
        window = np.zeros((s, s, x.shape[-1]))
        there = normed(layer.norm1, x[slice_])[top : top + s, left : left + s]  # type: ignore[arg-type]
        window[: there.shape[0], : there.shape[1]] = there
        seen = attention(layer.attn, window)  # type: ignore[arg-type]
        attended[slice_, top : top + s, left : left + s] = seen[: there.shape[0], : there.shape[1]]
    x = x + dconv_adapter(layer.attention_adapter, attended)  # type: ignore[arg-type]
    y = normed(layer.norm2, x)  # type: ignore[arg-type]
    hidden = linear(layer.mlp.lin2, gelu(linear(layer.mlp.lin1, y)))  # type: ignore[union-attr,arg-type]
    return x + hidden + 0.5 * dconv_adapter(layer.mlp_adapter, y)  # type: ignore[arg-type]


def cheapest_assignment(cost: Array) -> float:
    """The least total cost of giving each column a row of its own, by trying all."""
    rows, columns = cost.shape
    return min(
        sum(cost[row, column] for column, row in enumerate(choice))
        for choice in permutations(range(rows), columns)
    )
