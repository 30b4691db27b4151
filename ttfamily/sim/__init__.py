"""The simulated mesh: real ttnn on a mock cluster, with torch computing the values the chips would."""
