"""A decoder-only Transformer: one function, many families.

`config` says what it is, `spec` which parameters it has, `layers`, `attention` and `moe` what it computes, `taps` how
activations inside the scan over layers are read and rewritten, `model` puts them together.
"""
