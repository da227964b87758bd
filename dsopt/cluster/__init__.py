"""The only part that knows Ray. With `cluster.workers=0` none of it is imported: the same functions run in this process."""
