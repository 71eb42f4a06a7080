"""Where clips come from: one module per source, each a frozen dataclass of parameters with a method `clips`."""
