"""All parsers of untrusted bytes, by name."""

import fuzzed_models
import fuzzed_outlines
import fuzzed_settings
import fuzzed_slides
import fuzzed_stores
from fuzzed_parser import FuzzedParser

_MODULES = (fuzzed_slides, fuzzed_outlines, fuzzed_settings, fuzzed_models, fuzzed_stores)
PARSERS: dict[str, FuzzedParser] = {
    parser.name: parser for module in _MODULES for parser in module.PARSERS
}
