"""The base of what people can mend."""


class UserError(Exception):
    """Its message says what is wrong, where, and what to do; it is shown without a traceback."""

    exit_code = 2
    """Of the command that met it; 1 and 3 tell how a job ended."""
