import sys
from collections.abc import Callable


class InputError(Exception):
    """Input that breaks a rule: rule, value, place. Exit code 2."""


def exit_code_of(tool: str, work: Callable[[], None]) -> int:
    """Runs a tool's work; what stops it goes to standard error."""
    try:
        work()
    except InputError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return 1
    return 0
