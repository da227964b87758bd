"""What may be wrong with a data set: checks, each a registered function; they point at images and change none."""
