"""Authorization and policy enforcement with Cedar policies."""
