from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_umamba.cli import main as main_module
from swin_umamba.cli.main import main
from swin_umamba.errors import DataError, UsageError
from swin_umamba.files import atomic_write

HEAVY = ("torch", "nnunetv2", "numpy", "numba", "scipy", "fastapi", "uvicorn")


def in_a_new_process(*arguments: str) -> tuple[int, str, list[str]]:
    """Run the command line; return its exit code, its output and the heavy packages that it imported."""
    code = (
        "import sys\n"
        "from swin_umamba.cli.main import main\n"
        "try:\n"
        "    code = main()\n"
        "except SystemExit as exit:\n"
        "    code = exit.code\n"
        f"print('imported:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    output, _, imported = done.stdout.rpartition("imported:")
    return done.returncode, output + done.stderr, imported.split()


Raise = Callable[[BaseException | int], None]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Return a function that replaces all commands by ``work``, which raises, or returns a number."""

    def replace(outcome: BaseException | int) -> None:
        def run(args: object) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        command = SimpleNamespace(HELP="work", add_arguments=lambda parser: None, run=run)
        monkeypatch.setattr(main_module, "COMMANDS", ("work",))
        monkeypatch.setattr(main_module.importlib, "import_module", lambda name: command)

    return replace


def test_help_imports_nothing_heavy() -> None:
    code, output, imported = in_a_new_process("--help")
    assert code == 0
    assert all(command in output for command in main_module.COMMANDS)
    assert imported == []


@pytest.mark.parametrize("command", main_module.COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    help_text = capsys.readouterr().out
    assert "--json" in help_text
    assert "--debug" in help_text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("swin-umamba ")


@pytest.mark.parametrize("arguments", [["predikt"], [], ["predict"], ["doctor", "--no-such-option"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "--help" in captured.err


def test_an_unknown_option_points_to_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["convert", "folder", "--images", "I", "--masks", "M", "-o", "O", "--overwrite", "--json"]) == 2
    )
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "unrecognized arguments: --overwrite"
    assert error["where"] == "swin-umamba convert folder"
    assert error["hint"] == "see swin-umamba convert folder --help"


def test_wrong_usage_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "1", "--batch-size", "many", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "argument --batch-size: invalid int value: 'many'"
    assert error["where"] == "swin-umamba plan"


def test_exit_code_of_a_command_is_passed_on(raising: Raise) -> None:
    raising(0)
    assert main(["work"]) == 0
    raising(1)
    assert main(["work"]) == 1


def test_an_error_is_three_lines(raising: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raising(DataError("the file is damaged", where="a.png", hint="copy it again"))
    assert main(["work"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: the file is damaged\n  where: a.png\n  what to do: copy it again\n"


def test_an_error_as_json(raising: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raising(UsageError("no such fold", hint="give 0 to 4"))
    assert main(["work", "--json"]) == 2
    expected = {"what": "no such fold", "where": None, "hint": "give 0 to 4"}
    assert json.loads(capsys.readouterr().out) == {"schema": 2, "error": expected}


def test_debug_shows_the_traceback(raising: Raise) -> None:
    raising(DataError("the file is damaged"))
    with pytest.raises(DataError):
        main(["work", "--debug"])
    raising(ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError):
        main(["work", "--debug"])


def test_an_unexpected_error_names_the_way_to_report_it(
    raising: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(ZeroDivisionError("by zero"))
    assert main(["work"]) == 1
    message = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in message
    assert "--debug" in message
    assert "Traceback" not in message


def test_an_error_of_the_system_names_the_file(raising: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raising(PermissionError(13, "Permission denied", "a.json"))
    assert main(["work"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: the system refused to open or write a file: [Errno 13]")
    assert "where: a.json" in message


def test_messages_do_not_command_the_terminal() -> None:
    code = (
        "import logging\n"
        "from swin_umamba.cli import doctor, main\n"
        "logger = logging.getLogger('swin_umamba.x')\n"
        "doctor.run = lambda args: logger.warning('case %s', 'a\\x1b[31m\\rb') or 0\n"
        "raise SystemExit(main.main(['doctor']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stderr.decode() == "case a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b\n"


def test_interruption_is_130(raising: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    raising(KeyboardInterrupt())
    assert main(["work", "--json"]) == 130
    captured = capsys.readouterr()
    assert captured.err == "error: interrupted\n"
    assert json.loads(captured.out)["error"]["what"] == "interrupted"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_termination_is_143_and_lets_the_command_clean_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(args: argparse.Namespace) -> int:
        with atomic_write(tmp_path / "result"):
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    command = SimpleNamespace(HELP="", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(main_module, "COMMANDS", ("work",))
    monkeypatch.setattr(main_module, "importlib", SimpleNamespace(import_module=lambda name: command))
    assert main(["work"]) == 143
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_traceback() -> None:
    """``swin-umamba doctor | head -0`` and the like: the reader goes away before the output ends."""
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from swin_umamba.cli import main as m\n"
        "def run(args):\n"
        "    for _ in range(10**5):\n"
        "        print('x' * 100)\n"
        "command = SimpleNamespace(HELP='', add_arguments=lambda p: None, run=run)\n"
        "m.COMMANDS = ('work',)\n"
        "m.importlib = SimpleNamespace(import_module=lambda name: command)\n"
        "sys.exit(m.main(['work']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=300) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_commands_are_found_in_the_order_of_the_work() -> None:
    assert main_module.COMMANDS[:5] == ("demo", "convert", "plan", "pretrain", "train")
    orders = [main_module.find_command(name).ORDER for name in main_module.COMMANDS]
    assert orders == sorted(set(orders))


def test_a_command_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my_command.py"
    path.write_text(
        "from swin_umamba.cli import register_command\n"
        "HELP = 'greet'\n"
        "def add_arguments(parser): parser.add_argument('name')\n"
        "def run(args):\n"
        "    print('hello', args.name)\n"
        "    return 0\n"
        "register_command('greet', __name__)\n"
    )
    monkeypatch.setenv("SWIN_UMAMBA_EXTENSIONS", str(path))
    monkeypatch.setattr(main_module.cli, "OWN_COMMANDS", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
    with pytest.raises(UsageError, match="a command 'train' already"):
        main_module.cli.register_command("train", "my_command")
    del sys.modules["my_command"]


def test_a_command_ends_without_a_search_for_garbage() -> None:
    """What is in a cycle stays, and what is registered for the end still runs."""
    code = (
        "import atexit, sys\n"
        "from swin_umamba.cli.main import main\n"
        "class Cycle:\n"
        "    def __init__(self):\n"
        "        self.own = self\n"
        "    def __del__(self):\n"
        "        print('collected')\n"
        "atexit.register(print, 'registered')\n"
        "code = main(['env', '--no-such-option'])\n"
        "kept = Cycle()\n"
        "del kept\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "registered\n")


def test_quiet_leaves_warnings_and_no_progress() -> None:
    code = (
        "import logging, sys\n"
        "from types import SimpleNamespace\n"
        "from swin_umamba.cli import main as module\n"
        "from swin_umamba import progress\n"
        "now = 0\n"
        "progress.clock = lambda: now\n"
        "def run(args):\n"
        "    global now\n"
        "    logger = logging.getLogger('swin_umamba.work')\n"
        "    logger.info('a message')\n"
        "    logger.warning('a warning')\n"
        "    with progress.Progress('working', total=1, unit='case') as shown:\n"
        "        now = 100\n"
        "        shown.update()\n"
        "    return 0\n"
        "module.COMMANDS = ('work',)\n"
        "command = SimpleNamespace(HELP='work', add_arguments=lambda parser: None, run=run)\n"
        "module.find_command = lambda name: command\n"
        "sys.exit(module.main(sys.argv[1:]))\n"
    )
    for given, expected in (
        (["--quiet"], ["a warning"]),
        ([], ["a message", "a warning", "working: 1 of 1 case, 100.0 s/case, 0 s left"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, "work", *given], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.splitlines()) == (0, expected)


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the stream")
def test_a_closed_stderr_is_no_error() -> None:
    """Its messages go nowhere, not into the JSON on stdout."""
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from swin_umamba.cli import main as module\n"
        "from swin_umamba.errors import DataError\n"
        "from swin_umamba.progress import progress\n"
        "def run(args):\n"
        "    raise DataError(str(list(progress(range(3), 'working'))))\n"
        "module.COMMANDS = ('work',)\n"
        "command = SimpleNamespace(HELP='work', add_arguments=lambda parser: None, run=run)\n"
        "module.find_command = lambda name: command\n"
        "sys.exit(module.main(['work', '--json']))\n"
    )
    words = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["what"] == "[0, 1, 2]"
