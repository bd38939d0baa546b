"""Methods: one module each, a tuple of phases whose losses make one step. Data, schedule, validation and logging are shared."""
