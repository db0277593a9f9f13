"""The unusual parts of 3DSAM-adapter, spelled out step by step to compare with; slow and plain.

Patches and logits have the release's axes here: (slice, row, column).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    conv2d,
    conv3d,
    gelu,
    instance_norm,
    interpolate,
    layer_norm,
    linear,
    relu,
)

from MSAMLogic.model.sam_adapter.network import SAMAdapter


def embedded(network: SAMAdapter, patch: Tensor) -> Tensor:
    """Return tokens (row, column, slice, width) of a patch (slice, row, column), without positions."""
    encoder, config = network.image_encoder, network.config
    enlarged = interpolate(patch[None, None], scale_factor=config.enlargement, mode="trilinear")[0, 0]
    rgb = torch.stack([enlarged] * 3, dim=1)
    proj = encoder.patch_embedding.patch_embed.proj
    slices = conv2d(rgb, proj.weight, proj.bias, stride=config.token_size)
    volume = slices.permute(1, 2, 3, 0)[None]
    return conv3d(
        volume,
        encoder.patch_embedding.slice_embed.weight,
        encoder.patch_embedding.slice_embed.bias,
        stride=(1, 1, config.token_size),
        groups=config.encoder_width,
    )[0].permute(1, 2, 3, 0)


def tokens_of(network: SAMAdapter, patch: Tensor) -> Tensor:
    """Return tokens (row, column, slice, width) of a patch (slice, row, column)."""
    encoder, config = network.image_encoder, network.config
    pooling = config.position_table // config.grid_size
    in_plane = avg_pool2d(encoder.pos_embed[0].permute(2, 0, 1), pooling).permute(1, 2, 0)
    return embedded(network, patch) + in_plane[:, :, None] + encoder.depth_embed[0][None, None]


def attended(block: nn.Module, tokens: Tensor, shift: int) -> Tensor:
    """Attend among tokens (g, g, g, width): for each token, over those of its window, one by one."""
    attention = block.attn
    g, width, s, heads = tokens.shape[0], tokens.shape[-1], attention.window_size, attention.heads
    head_width = width // heads
    q, k, v = (
        linear(tokens, attention.qkv.weight, attention.qkv.bias).reshape(g, g, g, 3, heads, -1).unbind(3)
    )
    tables = []
    for axis in "hwd":
        table = getattr(attention, f"rel_pos_{axis}")
        if len(table) != 2 * s - 1:
            table = interpolate(table.T[None], size=2 * s - 1, mode="linear")[0].T
        tables.append(table)
    out = torch.zeros_like(q)
    for place in itertools.product(range(g), repeat=3):
        rolled = [(p - shift) % g for p in place]
        members = list(itertools.product(*[range(r // s * s, r // s * s + s) for r in rolled]))
        logits, values = [], []
        for member in members:
            other = tuple((m + shift) % g for m in member)
            logit = (q[place] * k[other]).sum(-1) * head_width**-0.5
            for table, a, b in zip(tables, rolled, member, strict=True):
                logit = logit + attention.lr * q[place] @ table[a - b + s - 1]
            # A window at the border holds tokens of both ends of the grid; they do not see each other.
            if any((a >= g - shift) != (b >= g - shift) for a, b in zip(rolled, member, strict=True)):
                logit = logit - 100.0
            logits.append(logit)
            values.append(v[other])
        weights = torch.stack(logits).softmax(dim=0)
        out[place] = (weights[..., None] * torch.stack(values)).sum(0)
    return linear(out.flatten(3), attention.proj.weight, attention.proj.bias)


def block_output(block: nn.Module, tokens: Tensor, shift: int) -> Tensor:
    """Return what a block makes of tokens (g, g, g, width)."""
    adapter = block.adapter
    small = relu(linear(tokens, adapter.linear1.weight, adapter.linear1.bias)).permute(3, 0, 1, 2)
    small = conv3d(small[None], adapter.conv.weight, adapter.conv.bias, padding=1, groups=len(small))[0]
    raised = relu(linear(relu(small.permute(1, 2, 3, 0)), adapter.linear2.weight, adapter.linear2.bias))
    tokens = tokens + raised
    normed = layer_norm(tokens, tokens.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
    tokens = tokens + attended(block, normed, shift)
    normed = layer_norm(tokens, tokens.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
    hidden = gelu(linear(normed, block.mlp.lin1.weight, block.mlp.lin1.bias))
    return tokens + linear(hidden, block.mlp.lin2.weight, block.mlp.lin2.bias)


def levels_of(network: SAMAdapter, patch: Tensor) -> list[Tensor]:
    """Return the four levels (C, row, column, slice) of a patch (slice, row, column)."""
    tokens, levels = tokens_of(network, patch), []
    blocks = network.image_encoder.blocks
    for index, block in enumerate(blocks):
        tokens = block_output(block, tokens, network.config.window_size // 2 if index % 2 == 0 else 0)
        if (index + 1) % (len(blocks) // 4) == 0:
            weight = network.image_encoder.neck_3d[len(levels)][0].weight
            levels.append(relu(instance_norm(conv3d(tokens.permute(3, 0, 1, 2)[None], weight)))[0])
    return levels


def sampled(level: Tensor, point: Tensor, patch_size: int) -> Tensor:
    """Return the features (C,) of a level (C, row, column, slice) at a point, trilinearly.

    ``point`` (3,) is in patch voxels, axes (slice, row, column).
    """
    g = level.shape[-1]
    slice_, row, column = ((point + 0.5) * g / patch_size - 0.5).tolist()
    total = torch.zeros(len(level))
    for corner in itertools.product((0, 1), repeat=3):
        weight, index = 1.0, []
        for position, step in zip((row, column, slice_), corner, strict=True):
            low = int(position // 1)
            weight *= position - low if step else 1 - (position - low)
            index.append(low + step)
        if all(0 <= i < g for i in index):  # outside the level there is nothing
            total = total + weight * level[:, index[0], index[1], index[2]]
    return total


def _attention(module: nn.Module, q: Tensor, kv: Tensor) -> Tensor:
    """Return multi-head attention from rows (Q, C) to rows (K, C)."""
    heads = module.heads
    query, key, value = (
        linear(x, layer.weight, layer.bias)
        for layer, x in ((module.q_proj, q), (module.k_proj, kv), (module.v_proj, kv))
    )
    width = query.shape[1] // heads
    parts = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = (query[:, part] @ key[:, part].T / width**0.5).softmax(dim=1)
        parts.append(weights @ value[:, part])
    return linear(torch.cat(parts, dim=1), module.out_proj.weight, module.out_proj.bias)


def prompted_level(network: SAMAdapter, level: Tensor, points: Tensor) -> Tensor:
    """Return a level (C, row, column, slice) with points (N, 3), axes (slice, row, column), worked in."""
    encoder, size = network.prompt_encoders[3], network.config.patch_size
    tokens = torch.stack([sampled(level, point, size) for point in points])
    image = level.flatten(1).T

    def normed(x: Tensor, norm: nn.Module) -> Tensor:
        return layer_norm(x, x.shape[-1:], norm.weight, norm.bias)

    for layer in encoder.transformer.layers:
        count = layer.global_query.shape[1]
        joined = torch.cat([layer.global_query[0], tokens])
        joined = normed(
            joined + normed(_attention(layer.self_attn, joined, joined), layer.norm1), layer.norm2
        )
        queries, tokens = joined[:count], joined[count:]
        hidden = relu(linear(queries, layer.mlp.lin1.weight, layer.mlp.lin1.bias))
        queries = normed(queries + linear(hidden, layer.mlp.lin2.weight, layer.mlp.lin2.bias), layer.norm3)
        image = normed(image + _attention(layer.cross_attn_image_to_token, image, queries), layer.norm4)
    return image.T.reshape(level.shape)


def class_logits(network: SAMAdapter, patch: Tensor, points: Tensor) -> Tensor:
    """Return both classes' logits (2, slice, row, column) of a patch and points of the same axes."""
    decoder, config = network.mask_decoder, network.config
    levels = levels_of(network, patch)
    levels[3] = prompted_level(network, levels[3], points)
    grid = 2 * config.grid_size
    inputs = []
    for head, level in zip(decoder.heads, levels, strict=True):
        x = level[None]
        for conv in (head.conv1, head.conv2):
            x = relu(instance_norm(conv3d(x, conv.weight, padding=1)))
        inputs.append(interpolate(x, size=(grid,) * 3, mode="trilinear", align_corners=True))
    inputs.append(interpolate(patch.permute(1, 2, 0)[None, None], size=(grid,) * 3, mode="trilinear"))
    x = relu(instance_norm(conv3d(torch.cat(inputs, dim=1), decoder.join.weight, padding=1)))
    x = conv3d(x, decoder.classify.weight, padding=1)
    size = (config.patch_size,) * 3
    return interpolate(x, size=size, mode="trilinear", align_corners=True)[0].permute(0, 3, 1, 2)
