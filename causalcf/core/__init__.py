"""Tools that have nothing to do with causes: errors, settings, seeds, files, digests, descent, small networks."""
