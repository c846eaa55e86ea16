"""Kills, fills, locks and stops what Signalbox runs on, under a steady load, and counts what that loses: nothing."""
