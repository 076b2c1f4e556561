"""The parts of the compositions below: small, real architectures in PyTorch, drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: What the decoder below ends many texts with: never trained, it repeats itself there.
EOS = 19
VOCABULARY = 40


def _seeded(seed: int, build: Any) -> torch.nn.Module:
    from model_zoo._torch_seeding import fixed_seed, trained_like

    with fixed_seed(seed):
        return trained_like(build())


# backbone and head ----------------------------------------------------------------------------------------------------


def build_backbone() -> torch.nn.Module:
    """MobileNetV2's convolutions: `image float32[batch, 3, h, w]` to a map of 1280 channels."""
    from model_zoo.torch_vision import build_mobilenet_v2

    return build_mobilenet_v2().features


def build_head() -> torch.nn.Module:
    """Its pooling and classifier: the map to `logits float32[batch, 1000]`."""
    from torch import nn

    from model_zoo.torch_vision import build_mobilenet_v2

    whole = build_mobilenet_v2()

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = whole.classifier

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.classifier(features.mean(dim=(2, 3)))

    return Head().eval()


# encoder and decoder --------------------------------------------------------------------------------------------------


def build_encoder() -> torch.nn.Module:
    """Two attention layers: `source int64[batch, length]` to `memory float32[batch, length, 32]`.

    Written out, because the TorchScript exporter fixes batch and length in the reshapes of `nn.MultiheadAttention`.
    """
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
            self.mix = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
            self.norms = nn.ModuleList([nn.LayerNorm(32), nn.LayerNorm(32)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norms[0](x + self.out(attend(*self.into(x).chunk(3, dim=-1))))
            return self.norms[1](x + self.mix(x))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(VOCABULARY, 32), nn.Embedding(64, 32)
            self.layers = nn.Sequential(Layer(), Layer())

        def forward(self, source: torch.Tensor) -> torch.Tensor:
            places = torch.arange(source.shape[1], device=source.device)
            return self.layers(self.embed(source) + self.place(places))

    return _seeded(21, Encoder)


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention of one head."""
    scores = query @ keys.transpose(1, 2) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ values


def build_decoder_step() -> torch.nn.Module:
    """One step of an attention decoder with a cache.

    `token int64[batch]`, `cache float32[batch, past, 32]` and `memory float32[batch, length, 32]` to
    `logits float32[batch, 40]` and the grown cache.
    """
    import torch
    from torch import nn

    class DecoderStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, 32)
            self.own = nn.Linear(32, 96)
            self.query, self.keys = nn.Linear(32, 32), nn.Linear(32, 64)
            self.mix = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
            self.norm = nn.LayerNorm(32)
            self.out = nn.Linear(32, VOCABULARY)

        def forward(
            self, token: torch.Tensor, cache: torch.Tensor, memory: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.embed(token)[:, None]
            cache = torch.cat([cache, x], dim=1)
            query = self.own(x)[..., :32]
            keys, values = self.own(cache)[..., 32:].chunk(2, dim=-1)
            x = x + attend(query, keys, values)
            keys, values = self.keys(memory).chunk(2, dim=-1)
            x = x + attend(self.query(x), keys, values)
            return self.out(self.norm(x + self.mix(x)))[:, 0], cache

    return _seeded(22, DecoderStep)


# detector -------------------------------------------------------------------------------------------------------------


def build_detector() -> torch.nn.Module:
    """An SSD-like detector on two maps: `image float32[batch, 3, h, w]` to boxes (corners, pixels) and class scores."""
    import torch
    from torch import nn

    def block(into: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(into, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(block(3, 16), block(16, 32), block(32, 32))
            self.deep = block(32, 64)
            self.heads = nn.ModuleList([nn.Conv2d(32, 7, 3, 1, 1), nn.Conv2d(64, 7, 3, 1, 1)])
            for head in self.heads:  # as sure of itself as a trained one
                nn.init.normal_(head.weight, 0.0, 0.15)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            first = self.stem(image)
            boxes, scores = [], []
            for head, features, stride in zip(self.heads, (first, self.deep(first)), (8, 16), strict=True):
                found = head(features)
                rows = torch.arange(found.shape[2], device=image.device)
                columns = torch.arange(found.shape[3], device=image.device)
                y, x = torch.meshgrid(rows, columns, indexing="ij")
                centre = (torch.stack([x, y], dim=0) + 0.5) * stride + found[:, :2] * stride
                half = found[:, 2:4].clamp(-3, 3).exp() * stride
                boxes.append(torch.cat([centre - half, centre + half], dim=1).flatten(2).transpose(1, 2))
                scores.append(found[:, 4:].flatten(2).transpose(1, 2))
            return {"boxes": torch.cat(boxes, dim=1), "scores": torch.cat(scores, dim=1).sigmoid()}

    return _seeded(31, Detector)


def build_fast_nms() -> torch.nn.Module:
    """Suppression in the graph, over matrices (Bolya et al. 2019, arXiv:1904.02689): the 20 best of every image."""
    import torch
    from torch import nn

    class FastNms(nn.Module):
        def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> dict[str, torch.Tensor]:
            best, label = scores.max(dim=-1)
            score, order = best.topk(20, dim=1)
            box = boxes.gather(1, order[..., None].expand(-1, -1, 4))
            low = torch.maximum(box[:, :, None, :2], box[:, None, :, :2])
            high = torch.minimum(box[:, :, None, 2:], box[:, None, :, 2:])
            shared = (high - low).clamp(min=0).prod(dim=-1)
            area = (box[..., 2:] - box[..., :2]).prod(dim=-1)
            overlap = shared / (area[:, :, None] + area[:, None] - shared)
            worst = overlap.triu(diagonal=1).amax(dim=1)
            kept = (worst <= 0.5).to(score.dtype)
            return {"boxes": box, "scores": score * kept, "labels": label.gather(1, order)}

    return FastNms().eval()


# members of an ensemble, teacher and student --------------------------------------------------------------------------


def build_cnn(seed: int, width: int = 16) -> torch.nn.Module:
    """A small classifier: `image float32[batch, 3, h, w]` to `logits float32[batch, 6]`."""
    from torch import nn

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 6),
        )

    return _seeded(seed, build)


def build_decided_cnn(seed: int, width: int = 16, tuned: int = 0) -> torch.nn.Module:
    """The same, as sure of itself as a trained one: its logits are spread over pictures, about zero.

    Those of one seed that were ``tuned`` differently agree on most pictures.
    """
    import torch

    from model_zoo._torch_seeding import fixed_seed

    model = build_cnn(seed, width)
    head = model[-1]
    with fixed_seed(seed), torch.no_grad():
        features = model[:-1](torch.randn(64, 3, 24, 24))
        head.weight /= (features @ head.weight.T).std(dim=0)[:, None]
        if tuned:
            torch.manual_seed(tuned)
            head.weight += 0.3 * head.weight.std() * torch.randn(head.weight.shape)
        head.bias.copy_(-(features @ head.weight.T).mean(dim=0))
    return model


# generator and discriminator ------------------------------------------------------------------------------------------


def build_generator() -> torch.nn.Module:
    """DCGAN's generator (Radford et al. 2015, arXiv:1511.06434): `noise float32[batch, 16]` to a picture of 32 x 32."""
    import torch
    from torch import nn

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 32 * 4 * 4)
            self.up = nn.Sequential(
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.ConvTranspose2d(32, 16, 4, 2, 1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.ConvTranspose2d(16, 8, 4, 2, 1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 3, 4, 2, 1),
            )

        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.up(self.first(noise).reshape(-1, 32, 4, 4)))

    return _seeded(41, Generator)


def build_discriminator() -> torch.nn.Module:
    """Its discriminator: a picture in -1..1 to one number."""
    from torch import nn

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(16 * 8 * 8, 1),
        )

    return _seeded(42, build)


# two towers -----------------------------------------------------------------------------------------------------------


def build_image_tower() -> torch.nn.Module:
    """`image float32[batch, 3, h, w]` to an embedding of unit length, of 24 numbers."""
    import torch
    from torch import nn

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
            self.project = nn.Linear(32, 24)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.project(self.body(image).mean(dim=(2, 3))), dim=-1)

    return _seeded(51, Tower)


def build_text_tower() -> torch.nn.Module:
    """`tokens int64[texts, words]` and its mask to embeddings of unit length."""
    import torch
    from torch import nn

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, 24)
            self.project = nn.Linear(24, 24)

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            weights = mask.to(torch.float32)[..., None]
            mean = (self.embed(tokens) * weights).sum(dim=1) / weights.sum(dim=1)
            return torch.nn.functional.normalize(self.project(mean), dim=-1)

    return _seeded(52, Tower)
