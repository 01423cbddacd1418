"""How a rule between the fields of a spec is told."""


class SpecError(ValueError):
    """A rule between fields is broken; carries the field to blame and the mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
