"""The only package that imports Ray. With `cluster.workers=0` Ray is not imported: the same functions run in this process."""
