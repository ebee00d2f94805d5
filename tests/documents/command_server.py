"""Commands for the pages, each in a process forked from one that has imported PyTorch and nnU-Net already.

`python command_server.py FOLDER` listens at FOLDER/socket, and the programs in FOLDER/bin hand it their
arguments, folder, environment and streams. Trainings have tiny networks and few steps.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import runpy
import signal
import socket
import stat
import sys
import tempfile
import threading
import types
from pathlib import Path

PR_SET_PDEATHSIG = 1
PROGRAMS = ("swin-umamba", "python")
CLIENT = """\
#!{python} -SE
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([{program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    server.sendmsg([len(call).to_bytes(8, "big")], [streams])
    server.sendall(call)
    code = server.recv(1)
sys.exit(code[0] if code else 137)
"""
SHORT = ["--epochs", "1", "--iterations", "1", "--validation-iterations", "1", "--workers", "0"]
"""And of a file of weights that would be downloaded nothing is read, as it does not fit a tiny network."""


def write_programs(folder: Path) -> None:
    """Write what stands in for the commands."""
    (folder / "bin").mkdir()
    for program in PROGRAMS:
        path = folder / "bin" / program
        address = str(folder / "socket")
        path.write_text(CLIENT.format(python=sys.executable, address=address, program=program))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def serve(folder: Path) -> None:
    """Answer calls until the process that started this one ends."""
    _import_all()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.new"))
        listening.listen(64)
        os.rename(folder / "socket.new", folder / "socket")  # now that it answers
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            call, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(call)
            call.close()


def _import_all() -> None:
    """Import what takes seconds, and make trainings short."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import pytest

    import swin_umamba.cli.main
    import swin_umamba.cli.train
    import swin_umamba.experiments.run
    import swin_umamba.inference.calibrate
    import swin_umamba.nnunet.trainers
    import swin_umamba.nnunet.training.train
    import swin_umamba.summary.collect  # noqa: F401
    from nnunet.planned_data import _shrink_trainers
    from swin_umamba.nnunet.planning import preprocessing

    preprocessing.FOREGROUND_SAMPLES = 10_000  # type: ignore[attr-defined]
    os.fsync = lambda _: None  # type: ignore[assignment]
    _shrink_trainers(pytest.MonkeyPatch())


def _answer(call: socket.socket) -> None:
    """Run one command in this process, and end it."""
    code = 1
    try:
        head, streams, _, _ = socket.recv_fds(call, 8, 3)
        content = bytearray()
        while len(content) < int.from_bytes(head, "big"):
            content += call.recv(1 << 16)
        program, arguments, folder, environment = json.loads(content)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _start_afresh(folder, environment)
        threading.Thread(target=_end_with_the_caller, args=(call,), daemon=True).start()
        code = _run(program, arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for process in multiprocessing.active_children():
            process.terminate()
        with contextlib.suppress(OSError):  # who called has been killed
            call.sendall(bytes([code & 255]))
        os._exit(code & 255)


def _start_afresh(folder: str, environment: dict[str, str]) -> None:
    """Make this process look as if it had just been started."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", closefd=False, buffering=1)
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[:] = [each for each in sys.path if each != str(Path(__file__).parent)]
    sys.modules["__main__"] = types.ModuleType("__main__")


def _end_with_the_caller(call: socket.socket) -> None:
    if not call.recv(1):
        os.kill(os.getpid(), signal.SIGTERM)


def _run(program: str, arguments: list[str]) -> int:
    if program == "python":
        return _run_python(arguments)
    from swin_umamba.cli.main import main

    if arguments[:1] == ["train"] and "--help" not in arguments:
        own = "--pretrained" in arguments and "vmamba" not in arguments[arguments.index("--pretrained") + 1]
        arguments = [*arguments, *SHORT, *([] if own else ["--pretrained", "none"])]
    if arguments[:1] == ["demo"]:
        arguments = [*arguments, "--epochs", "1"]
    if arguments[:1] == ["plan"]:
        arguments = [*arguments, "--workers", "1"]
    if arguments[:1] == ["serve"] and "SERVE_PORT" in os.environ:
        arguments = [*arguments, "--port", os.environ["SERVE_PORT"]]
    return main(arguments)


def _run_python(arguments: list[str]) -> int:
    is_file = arguments[0] not in ("-c", "-m")
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent) if is_file else os.getcwd())
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "-c", "exec"), {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
