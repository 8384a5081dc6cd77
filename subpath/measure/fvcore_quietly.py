"""What we use of fvcore, without the deprecation warnings of the rest of it."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():  # fvcore compiles losses with torch.jit.script on import
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import einsum_flop_jit

__all__ = ["FlopCountAnalysis", "einsum_flop_jit"]
