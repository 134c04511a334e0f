"""The rules of tools/lint.py that need no compiler: the table of rooms, text, functions that only tests call."""
