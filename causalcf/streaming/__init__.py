"""Counterfactuals of more rows than fit into memory: streamed in blocks, kept in shards, by one process or many."""

from causalcf.streaming.bulk import bulk
from causalcf.streaming.query import BulkQuery

__all__ = ["BulkQuery", "bulk"]
