"""The one place where tensors cross between the towers (paper section 3.2 and Fig. 2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Tower = Literal[0, 1]


@dataclass
class Traffic:
    """Bytes that crossed forward; each crossing sends the same number back in the backward pass.

    Counted between towers, whether or not these lie on different devices.
    """

    forward_bytes: int = 0


def exchange(
    halves: tuple[Tensor, Tensor], *, to: tuple[Tower, ...], traffic: Traffic
) -> tuple[Tensor, ...]:
    """Give each tower of `to` both towers' halves, joined along dimension 1, on its own device.

    Tower t's half, (n, c, ...), lies on t's device; each result is (n, 2c, ...).
    """
    joined: list[Tensor] = []
    for tower in to:
        foreign = halves[1 - tower]
        traffic.forward_bytes += foreign.numel() * foreign.element_size()
        if joined and foreign.device == halves[tower].device:
            # Both towers on one device read the same tensor.
            joined.append(joined[0])
            continue
        arrived = foreign.to(halves[tower].device, non_blocking=True)
        pair = (halves[0], arrived) if tower == 0 else (arrived, halves[1])
        joined.append(torch.cat(pair, dim=1))
    return tuple(joined)
