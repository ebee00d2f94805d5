"""Settle in eight minutes whether everything is right on a GPU, and how fast it is.

    python benchmarks/gpu_check.py              # ten steps; ends at the first that must pass and does not
    python benchmarks/gpu_check.py --resume     # go on after a stop
    python benchmarks/gpu_check.py --only 3     # one step
    python benchmarks/gpu_check.py --minutes 60 # and find the best settings of launches, for later runs
    python benchmarks/gpu_check.py --rehearse   # without a GPU: tiny sizes, Triton's interpreter, no figures

Each step runs in its own process, and its result is written at once, to ``gpu_check.json`` and
``gpu_check.md`` in ``benchmarks/results/CARD``. The exit status is 1 if something is wrong; what is slow only
warns. Nothing is installed or downloaded, and nothing but PyTorch, NumPy and Triton is needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REHEARSAL_FOLDER = "rehearsal"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Settle in eight minutes whether all is right on a GPU.")
    parser.add_argument(
        "--only", type=int, choices=range(1, 12), metavar="STEP", help="run one step, 1 to 11"
    )
    parser.add_argument("--resume", action="store_true", help="leave out steps that passed")
    parser.add_argument("--rehearse", action="store_true", help="run through without a GPU; measures nothing")
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="time for all steps (default 8); from 30 on, launches are tuned as well",
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the cards' folders")
    parser.add_argument("--offline", action="store_true", help="accepted; nothing is ever installed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; return the exit status."""
    args = parse(arguments)
    if args.rehearse:  # before anything imports Triton
        os.environ["TRITON_INTERPRET"] = "1"
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["SWIN_UMAMBA_BACKEND"] = "chunked"  # for whole networks; the scans name theirs
        args.minutes = max(args.minutes, 20.0)
    sys.path[:0] = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "tests")]
    from gpu.facts import software
    from gpu.record import Record
    from gpu.runner import Context, run_all
    from gpu.steps import STEPS, TUNING, TUNING_MINUTES
    from swin_umamba.errors import SwinUMambaError
    from swin_umamba.ops.launch_settings import card_slug

    start = time.monotonic()
    try:
        facts = _facts(args.rehearse) | software()
        name = REHEARSAL_FOLDER if args.rehearse else card_slug(facts["card"])
        record = Record(args.output / name, facts, rehearsal=args.rehearse)
        record.folder.mkdir(parents=True, exist_ok=True)
        if args.resume or args.only:  # the other steps stay
            record.resume()
        context = Context(args.rehearse, record.folder, facts, lambda finding: None, args.minutes)
        wanted = [args.only] if args.only else sorted(STEPS)
        if not (args.only or args.rehearse or args.minutes >= TUNING_MINUTES):
            wanted.remove(TUNING)
        status = run_all(STEPS, record, context, wanted=wanted, resume=args.resume, say=say)
    except SwinUMambaError as error:
        say(str(error))
        return 1
    if args.rehearse:
        shutil.rmtree(record.folder / ".triton_cache", ignore_errors=True)
    say(f"{time.monotonic() - start:.0f} s; written to {record.folder}")
    return status


def _facts(rehearse: bool) -> dict[str, Any]:
    """Ask for the card in a process of its own: this one must not touch it, or its forks could not."""
    from gpu.facts import INVENTED, card_facts
    from gpu.runner import Step, run_step
    from swin_umamba.errors import BackendError

    if rehearse:
        return dict(INVENTED)

    def ask(context: Any) -> None:
        for name, value in card_facts().items():
            context.fact(name, value)

    from gpu.runner import Context

    result = run_step(Step("facts", ask, 60), Context(False, HERE, {}, lambda finding: None), 60)
    if result.status != "passed":
        raise BackendError(result.reason or f"the card does not answer: {result.status}")
    return {finding.name: finding.value for finding in result.findings}


def say(text: str) -> None:
    """Print at once, also into a file."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
