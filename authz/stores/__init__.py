"""Policy stores: where policies are kept, and how their changes arrive."""
