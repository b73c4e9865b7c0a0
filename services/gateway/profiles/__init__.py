"""Personal metrics: profiles that learn from rankings, their versions, and what they are scored by."""
