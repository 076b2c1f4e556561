"""Tables, graphs and recommendations in PyTorch, written from their papers and drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def build_tabular_mlp() -> torch.nn.Module:
    """Build a perceptron over numbers and categories (Guo and Berkhahn 2016, arXiv:1604.06737).

    `numbers float32[batch, 12]`, `weekday int64[batch]` (0..6), `hour int64[batch]` (0..23) and `day int64[batch]`
    (0..30) to `logits float32[batch, 3]`.

    Returns:
        The model in eval mode, 4 759 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.tabular_mlp import TabularMLP

    with fixed_seed(1604):
        return trained_like(TabularMLP())


def build_dlrm() -> torch.nn.Module:
    """Build a recommendation model (Naumov et al. 2019, arXiv:1906.00091): 4 tables of 100 rows, 10 products of pairs.

    `dense float32[batch, 13]` and `items int64[batch, 4, bag]`, row ids 0..99, to `click float32[batch]`, a
    probability.

    Returns:
        The model in eval mode, 8 273 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.dlrm import DLRM

    with fixed_seed(1906):
        return trained_like(DLRM())


def build_gcn() -> torch.nn.Module:
    """Build a graph convolutional network (Kipf and Welling 2016, arXiv:1609.02907) that sums by scatter-add.

    `features float32[nodes, 16]` and `edges int64[2, edges]`, node ids from 0 to nodes - 1, to
    `logits float32[nodes, 7]`; there may be no edge at all.

    Returns:
        The model in eval mode, 775 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.gcn import GCN

    with fixed_seed(1609):
        return trained_like(GCN())
