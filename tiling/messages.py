"""Numbers with their nouns, for messages."""


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the singular or plural.

    >>> counted(1, "gland"), counted(0, "gland"), counted(12, "slide")
    ('1 gland', '0 glands', '12 slides')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")
