"""Races: the same targets through several entrants, and who did how well. Plain values and rules; no transport."""
