"""Self-attention over a cube of tokens with SAM-Med3D's relative positions, padding in closed form.

Two properties of the released network look like slips, but trained weights depend on them; both are
reproduced here exactly:

* **The relative position terms are broadcast on other axes than their names say.** With ``x(d, h, w)``
  the unscaled query vector of the token at (d, h, w) and ``R_d``, ``R_h``, ``R_w`` the tables picked by
  ``query - key + size - 1``, the logit from query (qd, qh, qw) to key (kd, kh, kw) gains
  ``x(qd,qh,qw)·R_d[qd,kw] + x(qd,qh,kd)·R_h[qh,kw] + x(qd,qh,kh)·R_w[kh,kw]``.
* **The padding of a window takes part.** The released code zero-pads the token grid to the window
  *after* the first normalisation and masks nothing, so most keys of a window are padding: 2,232 of
  2,744 for 8³ tokens in a 14³ window.

All padded keys share one key vector and one value vector (the bias of the projection), and their
logits separate by axis. The whole padding is therefore **one** extra key whose logit is
``q·b_k / sqrt(d) + log m``; ``m`` sums ``exp`` of the position terms over the padded positions and
factorises. No padded token is ever computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from MSAMLogic.model.lora import LowRankUpdate


class PositionTerms(NamedTuple):
    """The three relative position terms, for the real queries and all ``s`` key positions of a window.

    ``g`` is the number of real tokens a side; all tensors start with (batch, head, qd, qh).

    Attributes:
        a: (B, N, g, g, g, s), by (qw, kw).
        b: (B, N, g, g, s, s), by (kd, kw).
        c: (B, N, g, g, s, s), by (kh, kw).
    """

    a: Tensor
    b: Tensor
    c: Tensor


class RelativeAttention(nn.Module):
    """Multi-head self-attention over a token cube, as SAM-Med3D's encoder and M-SAM's adapter use it.

    Args:
        width: channels of a token.
        heads: attention heads; each has ``width // heads`` channels.
        grid_size: real tokens a side.
        window_size: tokens a side that the published network attends over; what exceeds
            ``grid_size`` is padding.
        lora_rank: rank of a low-rank update of query and value; 0 leaves it out.
    """

    def __init__(self, width: int, heads: int, grid_size: int, window_size: int, lora_rank: int = 0) -> None:
        super().__init__()
        head_width = width // heads
        self.heads = heads
        self.grid_size = grid_size
        self.window_size = window_size
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.lora = LowRankUpdate(width, lora_rank) if lora_rank else None
        for axis in "dhw":
            table = nn.Parameter(torch.zeros(2 * window_size - 1, head_width))
            self.register_parameter(f"rel_pos_{axis}", table)
        # A query exists for real tokens only; a key position for the whole window.
        offset = torch.arange(window_size)[:, None] - torch.arange(window_size)[None, :] + window_size - 1
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each cube of ``x``, shape (B, g, g, g, width); returns the same shape."""
        batch, g = x.shape[0], self.grid_size
        weight = self.qkv.weight if self.lora is None else self.lora.merged(self.qkv.weight)
        qkv = nn.functional.linear(x, weight, self.qkv.bias)
        q, k, v = qkv.reshape(batch, g**3, 3, self.heads, -1).permute(2, 0, 3, 1, 4)

        terms = self._position_terms(q)
        bias = self._real_bias(terms)
        if self.window_size > g:
            bias = torch.cat((bias, self._log_padding_mass(terms).unsqueeze(-1).to(bias.dtype)), dim=-1)
            _, b_k, b_v = self.qkv.bias.to(q.dtype).reshape(3, 1, self.heads, 1, -1)
            k = torch.cat((k, b_k.expand(batch, -1, -1, -1)), dim=2)
            v = torch.cat((v, b_v.expand(batch, -1, -1, -1)), dim=2)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        out = out.transpose(1, 2).reshape(batch, g, g, g, -1)
        projected: Tensor = self.proj(out)
        return projected

    def _position_terms(self, q: Tensor) -> PositionTerms:
        """Return the position terms of queries ``q``, shape (B, heads, g³, head width), unscaled."""
        g, s = self.grid_size, self.window_size
        x = q.reshape(*q.shape[:2], g, g, g, -1)
        r_d, r_h, r_w = (getattr(self, f"rel_pos_{axis}").to(q.dtype)[self.offset] for axis in "dhw")
        a = torch.einsum("bndhwc,dkc->bndhwk", x, r_d[:g])
        b = torch.einsum("bndhwc,hkc->bndhwk", x, r_h[:g])  # here w plays the role of kd
        c = torch.einsum("bndhwc,wkc->bndhwk", x, r_w[:g])  # here w plays the role of kh
        if s > g:
            # Where kd or kh lies in the padding, x is the query of a padded token: the query bias.
            b_q = self.qkv.bias[: self.qkv.in_features].to(q.dtype).reshape(self.heads, -1)
            padded_b = torch.einsum("nc,hkc->nhk", b_q, r_h[:g])[None, :, None, :, None, :]
            padded_c = torch.einsum("nc,wkc->nwk", b_q, r_w[g:])[None, :, None, None, :, :]
            b = torch.cat((b, padded_b.expand(b.shape[0], -1, g, -1, s - g, -1)), dim=4)
            c = torch.cat((c, padded_c.expand(c.shape[0], -1, g, g, -1, -1)), dim=4)
        return PositionTerms(a, b, c)

    def _real_bias(self, terms: PositionTerms) -> Tensor:
        """Return the additive logits between real tokens, shape (B, heads, g³, g³)."""
        g = self.grid_size
        by_key = (terms.b[..., :g, None, :g] + terms.c[..., None, :g, :g]).flatten(4)
        # Its eight values once for each (kd, kh): what no other row of a product adds to stays exact, and
        # the product lies in memory as attention wants it.
        repeated = torch.eye(g, dtype=terms.a.dtype, device=terms.a.device).repeat(1, g**2)
        return (terms.a[..., :g] @ repeated).add_(by_key.unsqueeze(4)).flatten(2, 4)

    def _log_padding_mass(self, terms: PositionTerms) -> Tensor:
        """Return ``log m`` of the padding for every real query, shape (B, heads, g³), at least float32.

        For ``kw`` in the padding every (kd, kh) is padding; for a real ``kw`` it is all pairs without
        the real ones. Written as a sum of positive parts, so nothing cancels.
        """
        g = self.grid_size
        a, b, c = (term.to(torch.promote_types(term.dtype, torch.float32)) for term in terms)
        all_c = c.logsumexp(dim=4)
        padding_kw = b[..., g:].logsumexp(dim=4) + all_c[..., g:]
        real_b, padded_b = b[..., :g, :g].logsumexp(dim=4), b[..., g:, :g].logsumexp(dim=4)
        real_kw = torch.logaddexp(padded_b + all_c[..., :g], real_b + c[..., g:, :g].logsumexp(dim=4))
        by_kw = torch.cat((real_kw, padding_kw), dim=-1)
        return (a + by_kw.unsqueeze(4)).logsumexp(dim=-1).flatten(2, 4)
