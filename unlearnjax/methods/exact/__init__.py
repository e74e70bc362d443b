"""Methods that forget with a certificate: the result is that of retraining, or cannot be told from it.

`unlearnjax.methods.<name>` is the factory; `unlearnjax.methods.exact.<name>` is the module that holds it.
"""

from __future__ import annotations

MODULES = {name: name for name in ("certified_removal", "clpu", "fed_avg", "from_scratch", "noisy_gd", "s3t", "safe")}
"""Factory name -> module of this package."""
