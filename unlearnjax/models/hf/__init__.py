"""Language models and tokenizers in the directory format of Hugging Face.

`config` translates `config.json`, `names` the names of tensors, `load` and `save` move the weights, one tensor at a
time. Nothing of `transformers` or PyTorch is needed; safetensors is in the extra `lm`.
"""
