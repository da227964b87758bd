"""Networks. Each is one function, `(channels[, classes], *, options) -> nn.Module`, registered with these traits:

- `kind`: classifier, autoencoder or critic, and those below.
- `input_size`: the side of the square images that it takes, in pixels.
- `any_size`: it takes smaller and larger images, too; not given: it does not.
- `picture`: the side of the picture of which it takes a crop; not given: it takes whole pictures.

Networks for several sizes have `input_size=None` and `sizes` (is a side valid?), and are `(channels, size, ...)`. Their kinds:

- "generator": (noise, labels) -> images. `low` is the value of black in these.
- "discriminator": (images, labels) -> DiscriminatorOutput. `energy`: it is an autoencoder. `low`: the only value of black that it
  takes, or None for any.
- "encoder": (images, labels) -> (mean, standard deviation) of the code.
- "colorizer": (noise, lightness) -> colors.

Each of these has an attribute `conditional`: whether it uses the labels, or what the trait `conditioned_on` names instead.
"""
