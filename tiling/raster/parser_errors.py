"""What parsers of TIFFs and images raise when the bytes of a file are damaged."""

import struct

# Pillow raises its `DecompressionBombError`, too.
PARSER_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    SyntaxError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
)
