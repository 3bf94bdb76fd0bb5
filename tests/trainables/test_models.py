"""Networks: parameter counts of the papers, shapes, gradients."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import trainables
from search_spaces.registry import lookup
from tests.conftest import ROOT

MODELS = {n: lookup("model", n, trainables.MODELS) for n in trainables.MODELS}

torch.set_num_threads(1)

FIRST_WIDTH = {"resnet34": None}  # torchvision's, fixed; all others are built thin
WIDTHS = [
    # 21 million weights take seconds.
    pytest.param(name, FIRST_WIDTH.get(name, 8), marks=[pytest.mark.slow] * (name in FIRST_WIDTH))
    for name in MODELS
]


def num_params(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "num_classes", "expected"),
    [
        ("resnet18", 100, 11_220_132),
        ("resnet18", 10, 11_173_962),
        ("wrn28x10", 100, 36_536_884),
        ("resnet34", 1000, 21_797_672),
    ],
)
def test_parameter_count_is_the_papers(name, num_classes, expected):
    with torch.device("meta"):
        model = MODELS[name](num_classes=num_classes)
    assert num_params(model) == expected


@pytest.mark.parametrize(("name", "num_blocks"), [("resnet8", 1), ("resnet20", 3)])
def test_cifar_resnet_has_6n_plus_2_weight_layers(name, num_blocks):
    model = MODELS[name](num_classes=10)
    weights = [p for n, p in model.named_parameters() if p.ndim > 1 and "shortcut" not in n]
    assert len(weights) == 6 * num_blocks + 2


@pytest.mark.parametrize(("name", "width"), WIDTHS)
def test_model_maps_images_to_logits_and_every_parameter_gets_a_gradient(name, width):
    torch.manual_seed(0)
    model = MODELS[name](num_classes=7, in_channels=2, width=width)
    logits = model(torch.randn(4, 2, 32, 32))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize(("name", "width"), WIDTHS)
def test_the_seed_decides_the_initial_weights(name, width):
    def weights():
        torch.manual_seed(3)
        return torch.cat(
            [p.flatten() for p in MODELS[name](num_classes=3, width=width).parameters()]
        )

    assert torch.equal(weights(), weights())


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet18"])
def test_width_is_the_channel_count_of_the_first_stage(name):
    model = MODELS[name](num_classes=10, width=4)
    assert model.stem[0].out_channels == 4
    assert model.head.in_features == 4 * 2 ** (len(set(_channels(model))) - 1)


def _channels(model):
    return [block.body[0].out_channels for block in model.blocks]


def test_wide_resnet_starts_with_16_channels_and_doubles_its_width():
    model = MODELS["wrn28x10"](num_classes=10, width=8)
    assert model.body[0].out_channels == 16
    assert model.head.in_features == 32


def test_wide_resnet_has_28_convolutions_and_zero_bias():
    model = MODELS["wrn28x10"](num_classes=10, width=8)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) == 28
    assert torch.equal(model.head.bias, torch.zeros(10))


@pytest.mark.parametrize("name", ["resnet8", "wrn28x10"])
def test_logits_are_of_float32_under_autocast_and_float64_in_double(name):
    torch.manual_seed(0)
    model = MODELS[name](num_classes=10, width=8)
    x = torch.randn(16, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
    assert logits.dtype == torch.float32
    coarse = logits.bfloat16().float()
    assert (logits != coarse).float().mean() > 0.9  # 8 bits would hold one in 65,536 of them
    assert model.double()(x.double()).dtype == torch.float64


@pytest.mark.slow
def test_resnet34_begins_as_torchvisions_and_ends_in_float32():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model, drawn = MODELS["resnet34"](num_classes=10), torch.rand(1)
    torch.manual_seed(0)
    theirs = torchvision.models.resnet34(num_classes=10)
    assert torch.equal(torch.rand(1), drawn)
    for name, weights in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], weights), name
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(x), theirs.train()(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.float32
        assert theirs(x).dtype == torch.bfloat16  # what it would be


def test_resnet34_refuses_a_width():
    with pytest.raises(ValueError, match=r"^resnet34 has a fixed width, but got \(width=8\)"):
        MODELS["resnet34"](num_classes=10, width=8)


def test_resnet8_takes_the_digits_one_channel_of_8x8():
    logits = MODELS["resnet8"](num_classes=10, in_channels=1)(torch.zeros(2, 1, 8, 8))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_stages_halve_the_image_and_the_stem_does_not(name):
    model = MODELS[name](num_classes=10, width=4)
    x = torch.zeros(1, 3, 32, 32)
    assert model.stem(x).shape[2:] == (32, 32)
    stages = len(set(_channels(model)))
    assert model.blocks(model.stem(x)).shape[2:] == (32 >> (stages - 1), 32 >> (stages - 1))


@pytest.mark.slow
def test_importing_models_does_not_import_torchvision():
    code = "import sys, trainables.models; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.full
@pytest.mark.slow  # a process of its own
def test_strided_shortcuts_of_few_channels_have_the_gradients_of_their_definition():
    """In a process of its own: where this failed, the heap was corrupted."""
    code = """
import torch
from torch.nn import functional as F
from trainables import MODELS
from search_spaces.registry import lookup
torch.set_num_threads(1)
torch.manual_seed(0)
names = ("resnet8", "wrn28x10")
models = [lookup("model", name, MODELS)(num_classes=2, width=4) for name in names]
convs = [m for model in models for m in model.modules()
         if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (1, 1) and m.stride == (2, 2)]
assert len(convs) == 4
for conv in convs:
    conv.to(memory_format=torch.channels_last)
    for _ in range(20):
        x = torch.randn(16, conv.in_channels, 8, 8).to(memory_format=torch.channels_last)
        out = conv(x)
        conv.weight.grad = None
        out.square().sum().backward()
        pixels = x[:, :, ::2, ::2].double()
        weight = conv.weight.detach().double()[:, :, 0, 0]
        expected = torch.einsum("oc,bchw->bohw", weight, pixels)
        grad = torch.einsum("bohw,bchw->oc", 2 * expected, pixels)
        torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)
        given = conv.weight.grad[:, :, 0, 0].double()
        torch.testing.assert_close(given, grad, rtol=1e-3, atol=1e-3)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
