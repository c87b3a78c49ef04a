"""What is told of checks: the decision record, metrics, the operational log. Told beside a check, never in its way."""
