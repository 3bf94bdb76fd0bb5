"""torch's compiler is imported when something is compiled, and not before."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.conftest import ROOT

PRELUDE = """
import sys, torch
from trainables.compiler import postpone_compiler
def is_imported():
    return "torch._dynamo.convert_frame" in sys.modules
net = torch.nn.Linear(3, 2)
def train(kind, steps=3):
    torch.manual_seed(0)
    net.reset_parameters()
    optimizer = kind(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return [p.tolist() for p in net.parameters()]
KINDS = (torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop)
"""


def python(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_optimizers_step_as_with_the_compiler_imported_and_do_not_import_it() -> None:
    late = python(
        "postpone_compiler(); print([train(k) for k in KINDS]); assert not is_imported()"
    )
    assert late == python("print([train(k) for k in KINDS]); assert is_imported()")


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "assert torch.compile(torch.sin, backend='eager')(torch.zeros(1)) == 0",
        "import torch._dynamo.config as config; assert not config.suppress_errors",
        "from torch._dynamo import config; config.suppress_errors = True",
        "torch._dynamo.reset()",
        "torch._dynamo.mark = 1; assert sys.modules['torch._dynamo'].mark == 1",
    ],
)
def test_whatever_asks_for_the_compiler_gets_torchs_own(use: str) -> None:
    python(f"""
        postpone_compiler()
        before = train(torch.optim.SGD)
        {use}
        assert is_imported()
        assert type(sys.modules["torch._dynamo"]).__name__ == "module"
        assert torch._dynamo is sys.modules["torch._dynamo"]
        assert train(torch.optim.SGD) == before
        postpone_compiler()
        assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)) == 2
    """)


@pytest.mark.slow
def test_a_training_of_ours_does_not_import_it() -> None:
    python("""
        from tests.fakes.trials import small_trial
        from trainables.loop import NetworkTraining
        training = NetworkTraining(small_trial("epochs=2", "dataset.train_examples=200"))
        while not training.finished:
            training.run_epoch()
        training.outcome()
        assert not is_imported()
    """)
