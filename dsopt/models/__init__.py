"""Networks. Each is a function in one file: `(channels[, classes], *, options) -> nn.Module`, registered with what it is
(`kind`: classifier, autoencoder or critic) and the side of the square images it takes (`input_size`, in pixels).

Those of several sizes (`input_size=None`, `sizes(side)` says which) are `(channels, size, ...)`: kind "generator" is
(noise, labels) -> images, with `low`, the value of black in them; "discriminator" (images, labels) -> Judgement, with `energy` if
it is an autoencoder, and `low` if it takes no other images; "encoder" (images, labels) -> (mean, deviation); "colorizer"
(noise, lightness) -> colours. Each has an attribute `conditional`: whether it looks at the labels."""
