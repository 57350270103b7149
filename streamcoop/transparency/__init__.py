"""The shared log: published by a worker, served as files, and of it to each member what is hers."""
