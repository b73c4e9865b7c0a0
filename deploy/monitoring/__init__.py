"""Alert rules and dashboards of Likeness."""
