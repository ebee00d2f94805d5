"""What importing a part brings along, and what it must not: seconds, or packages that are not everywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

VIEWER = {"napari", "qtpy", "magicgui"}
# In the order in which one process imports them: what a part may bring along is not a fault of the next one.
STEPS: list[tuple[str, set[str]]] = [
    ("import swin_umamba", {"torch", "numpy", "nnunetv2"}),
    ("import swin_umamba.napari.layers", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.napari.models", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.napari.segment", {"torch", "nnunetv2"} | VIEWER),
    ("import swin_umamba.models.registry", {"huggingface_hub", "monai", "nnunetv2"}),
    (
        "swin_umamba.create_model('swin_umamba_d', depths=(1,) * 4, features_per_stage=(8,) * 4)",
        {"huggingface_hub", "swin_umamba.models.hub", "monai", "nnunetv2"},
    ),
    ("import swin_umamba.baselines.monai_networks", {"monai"}),
    ("import swin_umamba.nnunet.trainers", {"monai", "tensorboard"}),
    ("import swin_umamba.nnunet.training.train", {"monai", "tensorboard"}),
]
QUICK = 4  # the others import PyTorch


@pytest.mark.parametrize(
    "steps", [pytest.param(STEPS, marks=pytest.mark.slow, id="all"), pytest.param(STEPS[:QUICK], id="quick")]
)
def test_a_part_brings_along_no_more_than_it_needs(steps: list[tuple[str, set[str]]]) -> None:
    code = (
        "import json, sys\n"
        "for step, unwanted in json.loads(sys.argv[1]):\n"
        "    exec(step)\n"
        "    print('step', json.dumps([step, *sorted(set(unwanted) & set(sys.modules))]))\n"
    )
    given = json.dumps([(step, sorted(unwanted)) for step, unwanted in steps])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("step ")]
    assert found == [[step] for step, _ in steps]
