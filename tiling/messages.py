"""Figures as people say them."""


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "gland"), counted(0, "gland"), counted(12, "slide")
    ('1 gland', '0 glands', '12 slides')
    """
    return f"{number} {thing}" + ("" if number == 1 else "s")
