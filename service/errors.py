"""The base of what people can mend."""


class UserError(Exception):
    """Its message says what is wrong, where, and what to do; it is shown without a traceback."""
