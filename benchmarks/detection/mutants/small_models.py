"""Three small models with the operators that the zoo has none of: pooling by average, resizing, top-k, scatter, GRU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import torch


def build_detector() -> torch.nn.Module:
    """Build the head of a detector: a score for every cell, the best five cells and where they are."""
    import torch
    from torch import nn

    from model_zoo._torch_seeding import fixed_seed, trained_like

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 12, 3, padding=1)
            self.norm = nn.BatchNorm2d(12)
            self.pool = nn.AvgPool2d(3, 2, padding=1)
            self.mix = nn.Conv2d(24, 12, 3, padding=1)
            self.score = nn.Conv2d(12, 1, 1)
            self.offset = nn.Conv2d(12, 2, 1)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            fine = self.norm(nn.functional.leaky_relu(self.stem(image)))
            coarse = self.pool(fine)
            back = nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
            mixed = nn.functional.elu(self.mix(torch.cat([fine, back], dim=1)))
            near = nn.functional.interpolate(mixed, scale_factor=0.5, mode="nearest")
            scores = torch.sigmoid(self.score(near)).flatten(1)
            best, where = torch.topk(scores, 5, dim=1)
            offsets = self.offset(near).flatten(2).transpose(1, 2)
            chosen = torch.gather(offsets, 1, where.unsqueeze(-1).expand(-1, -1, 2))
            cells = torch.floor(chosen * 8) / 8
            return {"best": best, "cells": cells, "map": torch.clamp(mixed, -0.5, 2.0)}

    with fixed_seed(5):
        return trained_like(Detector())


def build_gru_counter() -> torch.nn.Module:
    """Build a GRU over tokens whose states are summed up, pooled over the real tokens, and scattered into slots."""
    import torch
    from torch import nn

    from model_zoo._torch_seeding import fixed_seed, trained_like

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(300, 24)
            self.gru = nn.GRU(24, 16, batch_first=True)
            self.head = nn.Linear(16, 8)

        def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
            states, _ = self.gru(self.embedding(tokens))
            real = (tokens > 20) | (tokens < 4)
            kept = torch.where(real.unsqueeze(-1), states, torch.full_like(states, -0.25))
            running = torch.cumsum(kept, dim=1)
            causal = torch.tril(states @ states.transpose(1, 2) - 0.1)
            slots = torch.zeros(tokens.shape[0], 300).scatter_add(1, tokens, kept.sum(-1))
            label = self.head(running).abs().sum(1).argmax(dim=-1)
            return {"running": self.head(running), "causal": causal, "slots": slots, "label": label}

    with fixed_seed(7):
        return trained_like(Counter())


def build_keras_pooler() -> keras.Model:
    """Build a Keras net with the layers the zoo's has not: average pooling that pads, BatchNorm alone."""
    import keras
    from keras import layers

    from model_zoo.keras_models import _random_state_kept, _trained_like

    with _random_state_kept():
        image = keras.Input((None, None, 3), name="image")
        value = layers.Conv2D(8, 3, strides=2, padding="same", activation="leaky_relu", name="conv")(image)
        value = layers.BatchNormalization(name="norm")(value)
        value = layers.AveragePooling2D(3, strides=2, padding="same", name="pool")(value)
        value = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(value)
        value = layers.Activation("hard_sigmoid", name="gate")(value)
        value = layers.GlobalMaxPooling2D(name="most")(value)
        scores = layers.Dense(5, activation="softplus", name="scores")(value)
        return _trained_like(keras.Model(image, scores, name="pooler"), seed=11)
