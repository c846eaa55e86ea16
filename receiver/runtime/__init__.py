"""What every process needs besides its work: threads, forks, a watchdog, output that never blocks, texts of errors."""
