"""Compare backbones at equal wall time: both VMambas, ConvNeXt's blocks, and nnU-Net's U-Nets.

    python benchmarks/backbones.py DATASET001_A DATASET002_B ... -o OUT --budget 240s --seeds 0,1

Each argument is a raw data set with a labelled test set. Steps of all networks are timed side by side first,
and the budget becomes a number of steps for each (OUT/DATASET/step_times.json). What is finished is not
repeated: run the same command again after a stop. OUT/DATASET/comparison.md has the table; all of them are
printed at the end.
"""

from __future__ import annotations

import os

# Not the shared apply_settings, with which threads look out for work before they sleep, and memory comes in
# large pages: the recorded seconds of a step, and so the numbers of steps, were measured without either.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import logging
import platform
from pathlib import Path

import torch

from frame import parser_of
from swin_umamba.compare.budget import Budget
from swin_umamba.compare.comparison import Settings, compare
from swin_umamba.compare.networks import find_network
from swin_umamba.compare.recipe import Recipe

NETWORKS = (
    "nnunet",
    "nnunet_resenc",
    "swin_umamba_d",
    "swin_umamba_d_tiny_s1l8",
    "swin_umamba_dd",
    "swin_umamba_dd_convnext",
)
GATE_SIZE = (64, 64)
TOLERANCE = 1e-4


def check_networks() -> None:
    """Stop unless each network gives in float32 what it gives in float64, up to a relative error."""
    for name in NETWORKS:
        torch.manual_seed(0)
        network = find_network(name).build(1, 2, GATE_SIZE).eval()
        image = torch.randn(1, 1, *GATE_SIZE)
        with torch.no_grad():
            narrow = network(image)[0]
            wide = network.double()(image.double())[0]
        error = float((narrow.double() - wide).abs().max() / wide.abs().max())
        if not error < TOLERANCE:
            raise SystemExit(f"correctness gate: {name} in float32 is {error:.1e} from float64")
        print(f"correctness gate: {name} within {error:.1e} of float64")


def main() -> None:
    """Compare on all data sets, and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="raw data set folders with imagesTs and labelsTs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--budget", default="240s", help="wall time of each training (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--patch-size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    check_networks()
    settings = Settings(
        budget=Budget.parse(args.budget),
        recipe=Recipe(learning_rate=args.learning_rate),
        fold="all",
        patch_size=tuple(args.patch_size),
        batch_size=args.batch_size,
    )
    networks = [find_network(name) for name in NETWORKS]
    seeds = [int(seed) for seed in args.seeds.split(",")]
    tables = [
        compare(data, networks, seeds, args.output / data.name, settings, baseline="nnunet")
        for data in args.data
    ]
    print(f"\n{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    for data, table in zip(args.data, tables, strict=True):
        print(f"\n## {data.name}\n\n{table.to_markdown()}")


if __name__ == "__main__":
    main()
