import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.stores.window_reading import read_window


@settings(deadline=None)
@given(st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 50), st.integers(1, 50))
def test_a_window_equals_a_slice_of_the_padded_array(y, x, height, width):
    array = np.arange(2 * 20 * 30, dtype=np.int32).reshape(2, 20, 30)
    padded = np.pad(array, ((0, 0), (100, 200), (100, 200)), constant_values=-1)
    expected = padded[:, y + 100 : y + 100 + height, x + 100 : x + 100 + width]
    np.testing.assert_array_equal(read_window(array, (y, x, height, width), fill=-1), expected)
