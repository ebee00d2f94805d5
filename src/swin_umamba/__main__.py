"""``python -m swin_umamba`` is the command ``swin-umamba``, for launchers such as torchrun."""

import sys

from swin_umamba.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
