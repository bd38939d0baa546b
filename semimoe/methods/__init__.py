"""Methods: one module each, a tuple of phases whose losses make one step. Data, schedule, validation and logging are shared."""

from semimoe.methods import semimoe, supervised, unet
from semimoe.methods.phase import Phase
from semimoe.settings import Method

PHASES: dict[Method, tuple[Phase, ...]] = {
    "semimoe": semimoe.PHASES,
    "supervised": supervised.PHASES,
    "unet": unet.PHASES,
}
