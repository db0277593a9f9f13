"""Self-attention in cubic windows, shifted in every other block, with SAM's relative positions.

A shifted window at the border of the token grid holds tokens from opposite sides; the release adds -100
to the logit between tokens of different sides. The relative positions add a term an axis that depends on
the query and on the key's place along that axis. Neither needs a table of all pairs: a query gets as many
extra channels as there are places along the three axes, holding its terms, and a key gets a one there.

The sides are compared axis by axis here, so tokens apart along two axes get -200, along three -300, in
place of the release's -100. After the softmax all are zero in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MSAMLogic.model.sam_adapter.cells import linear

_APART = -100.0  # added between tokens from opposite sides of the grid


class Windows(nn.Module):
    """Which tokens of a grid form each window.

    Args:
        grid_size: tokens a side of the grid, a multiple of ``window_size``.
        window_size: tokens a side of a window.
        shift: tokens by which the windows are shifted along every axis.

    Attributes:
        order: (g³,) the token at each place, window after window.
        places: (g³,) the place of each token; the inverse of ``order``.
        apart: (windows, 3, s, s) what is added along each axis between two places of a window.
    """

    order: Tensor
    places: Tensor
    apart: Tensor

    def __init__(self, grid_size: int, window_size: int, shift: int) -> None:
        super().__init__()
        count = grid_size // window_size
        self.shifted = shift > 0
        index = torch.arange(grid_size**3).reshape((grid_size,) * 3).roll((-shift,) * 3, (0, 1, 2))
        windows = index.reshape((count, window_size) * 3).permute(0, 2, 4, 1, 3, 5)
        order = windows.reshape(-1)
        # Along one axis: after the shift the last places of the last window hold the first tokens.
        wrapped = (torch.arange(grid_size) >= grid_size - shift).reshape(count, window_size)
        differs = wrapped[:, :, None] != wrapped[:, None, :]
        which = torch.cartesian_prod(*[torch.arange(count)] * 3).reshape(-1, 3)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", order.argsort(), persistent=False)
        self.register_buffer("apart", _APART * differs[which].float(), persistent=False)


class WindowAttention(nn.Module):
    """Multi-head self-attention within cubic windows.

    Args:
        width: channels of a token.
        heads: attention heads.
        window_size: tokens a side of a window.
        table_size: tokens a side that the tables of relative positions were made for; they are
            interpolated to the window.
    """

    offset: Tensor
    key_places: Tensor

    def __init__(self, width: int, heads: int, window_size: int, table_size: int) -> None:
        super().__init__()
        head_width = width // heads
        self.heads = heads
        self.window_size = window_size
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        for axis in "hwd":
            table = nn.Parameter(torch.zeros(2 * table_size - 1, head_width))
            self.register_parameter(f"rel_pos_{axis}", table)
        self.lr = nn.Parameter(torch.tensor(1.0))  # the release's name; scales the relative positions
        s = window_size
        offset = torch.arange(s)[:, None] - torch.arange(s)[None, :] + s - 1
        cube = torch.cartesian_prod(*[torch.arange(s)] * 3).reshape(-1, 3)
        places = torch.cat([nn.functional.one_hot(cube[:, axis], s) for axis in range(3)], dim=1)
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("key_places", places.float(), persistent=False)

    def relative_positions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tables of the three axes at the window's size, each (query, key, head width)."""
        longest = 2 * self.window_size - 1
        tables = []
        for axis in "hwd":
            table = getattr(self, f"rel_pos_{axis}")
            if table.shape[0] != longest:
                table = nn.functional.interpolate(table.T[None], size=longest, mode="linear")[0].T
            tables.append((self.lr * table)[self.offset])
        return tables[0], tables[1], tables[2]

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor, Tensor], apart: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            x: (B, windows, s³, width).
            tables: what :meth:`relative_positions` returned.
            apart: (windows, 3, s, s) of :class:`Windows`; None where no window is shifted.

        Returns:
            The shape of ``x``.
        """
        batch, windows, tokens, width = x.shape
        s = self.window_size
        qkv = linear(self.qkv, x).reshape(batch, windows, tokens, 3, self.heads, -1)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        cube = q.unflatten(3, (s, s, s))
        terms = [
            torch.einsum(f"bnehwdc,{axis}kc->bnehwdk", cube, table.to(q.dtype))
            for axis, table in zip("hwd", tables, strict=True)
        ]
        if apart is not None:
            by_axis = apart.to(q.dtype)[:, :, None]
            terms[0] = terms[0] + by_axis[:, 0, :, :, None, None]
            terms[1] = terms[1] + by_axis[:, 1, :, None, :, None]
            terms[2] = terms[2] + by_axis[:, 2, :, None, None, :]
        head_width = q.shape[-1]
        q = torch.cat([q * head_width**-0.5, *(term.flatten(3, 5) for term in terms)], dim=-1)
        places = self.key_places.to(k.dtype).expand(*k.shape[:-1], -1)
        k = torch.cat([k, places], dim=-1)
        v = nn.functional.pad(v, (0, 3 * s))  # the kernels want the same width for all three
        out = nn.functional.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), scale=1.0
        )
        joined = out[..., :head_width].transpose(1, 2).reshape(batch, windows, tokens, width)
        return linear(self.proj, joined)
