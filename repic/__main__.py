"""The command line in one word: ``repic caption album photos``, ``repic table outputs``.

What is none of these words is a run's: ``repic +experiment=quickstart`` is
``python -m repic.run +experiment=quickstart``.
"""

import sys
from importlib import import_module

COMMANDS = ("run", "caption", "ask", "app", "serve", "table", "report", "bench")


def main() -> None:
    """Run from the command line."""
    command = "run"
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        command = sys.argv.pop(1)
    name = f"repic.{command}" + ".__main__" * (command in ("app", "bench"))
    sys.exit(import_module(name).main())


if __name__ == "__main__":
    main()
