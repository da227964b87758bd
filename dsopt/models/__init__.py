"""Networks. Each is a function in one file: `(channels[, classes], *, options) -> nn.Module`, registered with what it is
(`kind`: classifier, autoencoder or critic) and the side of the square images it takes (`input_size`, in pixels)."""
