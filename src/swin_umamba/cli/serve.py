"""``swin-umamba serve``: a web page and an HTTP API that segment images with a trained model."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import threading
import webbrowser
from pathlib import Path

from swin_umamba.cli.options import add_model, add_options, given_options
from swin_umamba.cli.output import say, say_json
from swin_umamba.errors import UsageError
from swin_umamba.inference.options import ModelOptions

logger = logging.getLogger(__name__)

ORDER = 90
HELP = "a web page and HTTP API on this machine that segment images with a trained model"

AFTER_INTERRUPT = "the server has ended; all uploads and results are deleted"
ENDS_BY_INTERRUPT = True
"""An interrupt is the normal end, and not an error."""

MIB = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_model(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only); nothing is encrypted",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on, 0 for any free one (default: %(default)s)"
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that requests must present (default: a new one, in the printed address)",
    )
    token.add_argument(
        "--no-token",
        action="store_true",
        help="answer everybody who reaches the port, which includes all users of this machine",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_options(parser, ModelOptions)
    parser.add_argument(
        "--confidence", action="store_true", help="show the estimated Dice and the uncertainty"
    )
    parser.add_argument(
        "--max-upload",
        type=_positive,
        default=256,
        metavar="MIB",
        help="largest upload in MiB (default: %(default)s)",
    )
    parser.add_argument(
        "--max-voxels",
        type=_positive,
        default=2**27,
        metavar="N",
        help="largest image in voxels, all channels together (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-minutes",
        type=_positive,
        default=30,
        metavar="N",
        help="delete results that nobody has requested for this long (default: %(default)s)",
    )
    parser.add_argument(
        "--job-minutes",
        type=_positive,
        default=60,
        metavar="N",
        help="stop a prediction that takes longer (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Load the model, print the address, and serve until Ctrl-C or SIGTERM."""
    check_installed()
    from swin_umamba.inference.predictor import Predictor
    from swin_umamba.serve.limits import Limits
    from swin_umamba.serve.page import entrance_file
    from swin_umamba.serve.server import address_of, make_server, open_socket
    from swin_umamba.serve.service import Service

    # The port is opened before the model is loaded, so that a taken port is reported at once.
    token = _token(args)
    with open_socket(args.host, args.port) as listener:
        predictor = Predictor.from_folder(args.model, **given_options(args, ModelOptions))
        limits = Limits(
            upload_bytes=args.max_upload * MIB,
            voxels=args.max_voxels,
            idle_seconds=args.keep_minutes * 60,
            job_seconds=args.job_minutes * 60,
            # Without a token, all browsers on one machine, or behind one proxy, look like one client.
            share=1.0 if token is None else Limits.share,
        )
        with Service(predictor, limits, confidence=args.confidence) as service:
            # A token from a file is not written anywhere else.
            address = address_of(listener, args.host, None if args.token_file else token)
            if args.json:
                listening = {"address": address, "device": str(predictor.device)}
                say_json("serve", listening, indent=None, flush=True)
            else:
                say(f"serving at {address} on {predictor.device}; Ctrl-C ends it", flush=True)
            if args.open:
                # Other users can see the arguments of processes, so the browser gets a file that redirects to
                # the address. A token that outlives this run is kept out of the browser's history.
                target = address if args.token_file else entrance_file(service.storage.path, address)
                threading.Thread(target=webbrowser.open, args=(target,), daemon=True).start()
            make_server(service, args.host, token).run(sockets=[listener])
    return 0


def check_installed() -> None:
    """Raise ``UsageError`` if the extra packages of this command are missing."""
    missing = [
        name for name in ("fastapi", "uvicorn", "python_multipart") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise UsageError(
            f"the packages of the server are not installed: {', '.join(missing)}",
            where="swin-umamba serve",
            hint="pip install 'swin-umamba[serve]'",
        )


def _token(args: argparse.Namespace) -> str | None:
    from swin_umamba.serve.access import new_token, read_token

    if args.no_token:
        logger.warning("no token is required: everybody who reaches the port can use the model")
        return None
    return new_token() if args.token_file is None else read_token(args.token_file)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
    return number
