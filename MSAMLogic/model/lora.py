"""Low-rank adaptation of query and value (Hu et al. 2021, as M-SAM applies it to every encoder block)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LowRankUpdate(nn.Module):
    """A trainable rank-``rank`` update of the query and value rows of a joint qkv projection.

    ``B`` starts at zero, so a fresh update changes nothing.

    Args:
        width: input channels of the projection; its output is ``3 * width``.
        rank: rank of each update.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.linear_a_q = nn.Linear(width, rank, bias=False)
        self.linear_b_q = nn.Linear(rank, width, bias=False)
        self.linear_a_v = nn.Linear(width, rank, bias=False)
        self.linear_b_v = nn.Linear(rank, width, bias=False)
        for down in (self.linear_a_q, self.linear_a_v):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        for up in (self.linear_b_q, self.linear_b_v):
            nn.init.zeros_(up.weight)

    def merged(self, weight: Tensor) -> Tensor:
        """Return ``weight`` (3 * width, width) with the update added.

        Folding the update into the weight costs one tiny product a block instead of four extra
        passes over the tokens, and is the same to rounding.
        """
        query = self.linear_b_q.weight @ self.linear_a_q.weight
        value = self.linear_b_v.weight @ self.linear_a_v.weight
        return weight + torch.cat((query, torch.zeros_like(query), value))
