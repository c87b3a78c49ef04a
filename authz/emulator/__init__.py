"""A local, wire-compatible endpoint of Amazon Verified Permissions, for development and tests."""
