"""One target in one process under atheris: `python -m tests.fuzz.guided TARGET`, then libFuzzer's own arguments."""

import importlib
import logging
import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer has enough, or until a check raises."""
    logging.disable()
    with atheris.instrument_imports(include=["holdall", "holdall_stores"]):
        target = importlib.import_module(f"tests.fuzz.{sys.argv[1]}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
