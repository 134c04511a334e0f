class InputError(Exception):
    """Input that breaks a rule: rule, value, place. Exit code 2."""
