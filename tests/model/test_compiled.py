"""A compiled step: losses and gradients as without a compiler, also under remat, and one compilation for all steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import MODELS
from model.interface import ModelConfig

LOOKS = {"starts": "clip", "recognition": True, "evidence": "looks", "inertia": True, "mask_bias": -6.0}
# In a process of its own: here, what checks the annotations stands in the compiler's way.
COMPARED = """
import json, sys, torch
from dataclasses import replace
from model import MODELS
from model.interface import Video

torch.set_num_threads(1)
name, fields = sys.argv[1], json.loads(sys.argv[2])
config = replace(MODELS[name].small(), **fields)
torch.manual_seed(0)
model = config.build()
for parameter in model.parameters():
    parameter.data.add_(0.1 * torch.randn_like(parameter))
video = Video(torch.rand(2, 5, 3, 16, 16))

def passed(step, **changed):
    model.config = model.scene = replace(config, **changed)
    torch.manual_seed(3)
    model.zero_grad()
    loss = model(video, step).loss
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

def gap(found, wanted):
    assert len(found) == len(wanted)
    apart = [float((a - b).abs().max()) for a, b in zip(found, wanted)]
    return max(apart[0] / float(wanted[0].abs()), max(apart[1:]) / max(float(b.abs().max()) for b in wanted[1:]))

graphs = lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
gaps, made = [], []
for step in (5, 6, 7):
    wanted = passed(step)
    gaps += [gap(passed(step, compile=True, remat=remat), wanted) for remat in ("none", "every:2")]
    made.append(graphs())
with torch.no_grad():
    model.eval()(video, 5)
print(json.dumps({"gaps": gaps, "made": [*made, graphs()]}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "fields"), [("object-discovery", LOOKS), ("sqair-mlp", {}), ("st-iterative", {})]
)
def test_a_compiled_step_is_the_same_step(name: str, fields: dict[str, object], tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMPARED, name, json.dumps(fields)]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found["gaps"]) < 1e-4, "of the loss, and of the largest gradient"
    first, *others = found["made"]
    assert first > 0
    assert others == [first] * len(others), "later steps and evaluation compile nothing more"


@pytest.mark.parametrize("config", [each for each in MODELS.values() if not each.compiles])
def test_models_whose_step_is_not_compiled_say_so(config: type[ModelConfig]) -> None:
    with pytest.raises(ValueError, match="compile: got true, but the step of this model is not compiled"):
        config(compile=True)
