"""Another rounding of the same torch program: what any float32 evaluation of it is entitled to.

Monte Carlo arithmetic (D. S. Parker, 1997): the program runs in float64, and what every operation returns is rounded to
the model's precision at random, up or down. What is exact in that precision stays exact: copies, comparisons, small
whole numbers. Sums and products of matrices round on their way, too, so their terms are moved by half an epsilon each
(the backward error of N. Higham, *Accuracy and Stability*, 3.5). Numbers below the smallest normal one may become
zero, as processors and kernels that flush them make of them; numbers beyond the largest become infinite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Operators that add up many terms: their inputs are moved, as rounding within them would.
_SUMMING_NAMES = """
mm addmm bmm baddbmm addbmm addmv addr mv dot vdot matmul linear einsum convolution _convolution
sum nansum mean var var_mean std std_mean norm linalg_vector_norm logsumexp cumsum cumprod prod logcumsumexp
_softmax _log_softmax _safe_softmax native_layer_norm native_group_norm native_batch_norm
_native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm cudnn_batch_norm _fused_rms_norm
rms_norm _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math
scaled_dot_product_attention lstm gru rnn_tanh rnn_relu mkldnn_rnn_layer avg_pool2d adaptive_avg_pool2d
_adaptive_avg_pool2d upsample_bilinear2d upsample_bicubic2d grid_sampler_2d _cdist_forward _pdist_forward
_euclidean_dist cosine_similarity linalg_cross
"""
_SUMMING = frozenset(_SUMMING_NAMES.split())


class Rounding:
    """Rounds what operations return.

    Args:
        dtype: the precision.
        seed: 0 rounds numbers below the smallest normal one to zero throughout; others leave it to chance.
        device: of the model.
    """

    def __init__(self, dtype: torch.dtype, seed: int, device: torch.device) -> None:
        import torch

        info = torch.finfo(dtype)
        self._dtype = dtype
        self._eps, self._smallest = info.eps, info.smallest_normal
        self._seed = seed
        self._random = torch.Generator(device=device)
        self._random.manual_seed(seed)

    def call(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Call an operator of ATen as float arithmetic of the precision might."""
        import torch
        from torch.utils._pytree import tree_map_only

        out = function(*args, **kwargs)
        returned = function._schema.returns
        if any(value.alias_info is not None and not value.alias_info.is_write for value in returned):
            return out  # a view
        if any(value.alias_info is not None for value in returned):  # in place
            return tree_map_only(torch.Tensor, lambda tensor: tensor.copy_(self.round(tensor)), out)
        if function.overloadpacket.__name__ not in _SUMMING:
            return tree_map_only(torch.Tensor, self.round, out)
        moved = tree_map_only(torch.Tensor, self._moved, (args, kwargs))
        other = function(*moved[0], **moved[1])
        if isinstance(out, torch.Tensor):
            return self.round(out, other)
        return type(out)(
            self.round(one, two) if isinstance(one, torch.Tensor) else one for one, two in zip(out, other, strict=True)
        )

    def round(self, exact: Any, moved: Any = None) -> Any:
        """Round at random to one of the two neighbours; elements that need no rounding stay.

        Args:
            exact: what an operation returned.
            moved: what it returned on moved terms, for those elements that need rounding.
        """
        import torch

        if exact.dtype != torch.float64 or not exact.numel():
            return exact
        nearest = exact.to(self._dtype).double()
        value = exact if moved is None else moved
        # The half of an epsilon of a number is at least a quarter, at most the half of the step to its neighbour.
        other = (value * (1 + self._eps * (self._chance(value) - 0.5))).to(self._dtype).double()
        rounded = torch.where((nearest == exact) | exact.isnan(), exact, other)
        flushed = (rounded.abs() < self._smallest) & (rounded != 0)
        if self._seed:
            flushed &= self._chance(rounded) < 0.5
        return torch.where(flushed, torch.zeros_like(rounded), rounded)

    def _moved(self, tensor: Any) -> Any:
        import torch

        if tensor.dtype != torch.float64:
            return tensor
        return tensor * (1 + self._eps * (self._chance(tensor) - 0.5))

    def _chance(self, like: Any) -> Any:
        import torch

        return torch.rand(like.shape, generator=self._random, device=like.device, dtype=torch.float64)
