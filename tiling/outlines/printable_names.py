"""Names and values from outside, for messages, tables and pictures."""

_SURROGATES = ("\ud800", "\udfff")
_MAX_CHARACTERS = 60


def printable(text: str) -> str:
    r"""A name from outside, on one line and short, for a message, a table or a picture.

    >>> printable("a\n\ud800b")
    'a ?b'
    """
    first, last = _SURROGATES
    characters = (
        sign if sign.isprintable() or first <= sign <= last else " " for sign in text[:200]
    )
    one_line = " ".join("".join(characters).split())
    return one_line.encode("utf-8", "replace").decode()[:100]


def quoted(value: object) -> str:
    """A JSON value in a message; of a list or an object only its kind, as it may be deep or huge.

    >>> quoted("Polygon"), quoted(10**400), quoted([[[]]])
    ("'Polygon'", 'a number of 401 digits', 'a list')
    """
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str):
        return repr(printable(value[:_MAX_CHARACTERS]))
    text = str(value)
    return text if len(text) <= _MAX_CHARACTERS else f"a number of {len(text)} digits"
