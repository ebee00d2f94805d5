"""Measure what the commands cost to start and end: CPU seconds of each --help and of one small prediction.

    python benchmarks/start.py                        # a minute
    python benchmarks/start.py --before OLDER/src     # and of an older checkout, by turns
    python benchmarks/start.py --repeats 9

A command runs in a process of its own, between two of ``python -c pass``, whose median is given too: other
work on the machine slows both. The prediction is one picture of 128 x 128 pixels with SwinUMambaD of full
size and random weights, patches of as many pixels and mirrored images; kernels come from Numba's cache, which
a first run fills. Checked first: with --before, both write the same label map. POSIX only.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from frame import parser_of, say
from swin_umamba.cli.main import COMMANDS
from swin_umamba.nnunet.architecture import STRIDES, PlannedSwinUMambaD, architecture_entry
from swin_umamba.weights.checkpoint import save_checkpoint

SIDE = 128
OWN = Path(__file__).parent.parent / "src"
NAME = "nnUNetTrainerSwinUMambaDScratch__nnUNetPlans__2d"


def cpu_seconds(arguments: list[str], source: Path) -> float:
    """Return user and system seconds of a Python process, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_model(folder: Path) -> Path:
    """Write a model of full size with random weights."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [SIDE, SIDE],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture_entry(PlannedSwinUMambaD, {}, STRIDES[PlannedSwinUMambaD]),
    }
    for kind in ("data", "seg", "probabilities"):
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{kind}_kwargs"] = {**resampling, "is_seg": kind == "seg"}
    plans = {
        "image_reader_writer": "NaturalImage2DIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "original_median_spacing_after_transp": [999.0, 1.0, 1.0],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"2d": configuration},
    }
    description = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "interior": 1, "boundary": 2},
        "numTraining": 1,
        "file_ending": ".png",
    }
    torch.manual_seed(0)
    checkpoint = {
        "network_weights": PlannedSwinUMambaD(1, 3).state_dict(),
        "trainer_name": NAME.partition("__")[0],
        "init_args": {"plans": plans, "configuration": "2d", "fold": 0, "dataset_json": description},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    model = folder / NAME
    (model / "fold_0").mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(description))
    save_checkpoint(model / "fold_0" / "checkpoint_final.pth", checkpoint)
    return model


def main() -> None:
    """Measure and print a table."""
    parser = parser_of(__doc__)
    parser.add_argument("--before", type=Path, help="folder src of an older checkout")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command (default: %(default)s)")
    args = parser.parse_args()
    sources = {"now": OWN} if args.before is None else {"before": args.before.absolute(), "now": OWN}
    idle = []

    def medians(*words: str, of_source: dict[str, list[str]] | None = None) -> list[float]:
        arguments = of_source or {name: list(words) for name in sources}
        taken: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(args.repeats):
            for name, source in sources.items():
                idle.append(cpu_seconds(["-c", "pass"], source))
                taken[name].append(cpu_seconds(arguments[name], source))
        return [median(each) for each in taken.values()]

    def tell(name: str, seconds: list[float]) -> None:
        say(f"{name:<22}" + "".join(f"{each:>10.2f}" for each in seconds))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_model(folder)
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "case_0000.png")
        command = ["-m", "swin_umamba", "predict", "-m", str(model), "-i", str(folder / "case_0000.png")]
        of_source = {
            name: [*command, "-o", str(folder / name), "--device", "cpu", "--overwrite"] for name in sources
        }
        for name, source in sources.items():
            cpu_seconds(of_source[name], source)
        maps = {(folder / name / "case.png").read_bytes() for name in sources}
        if len(maps) > 1:
            sys.exit("the label maps differ")
        say(f"CPU seconds, median of {args.repeats}")
        say(f"{'':<22}" + "".join(f"{name:>10}" for name in sources))
        tell("import torch", medians("-c", "import torch"))
        tell("predict, one picture", medians(of_source=of_source))
        for name in COMMANDS:
            tell(f"{name} --help", medians("-m", "swin_umamba", name, "--help"))
        tell("--help", medians("-m", "swin_umamba", "--help"))
        say(f"{'python -c pass':<22}{median(idle):>10.2f}")


if __name__ == "__main__":
    main()
