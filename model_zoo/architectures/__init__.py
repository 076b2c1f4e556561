"""The zoo's own torch modules, one file per paper.

These files import torch at their top, so load them from inside a factory only (see `model_zoo.torch_vision`).
"""
