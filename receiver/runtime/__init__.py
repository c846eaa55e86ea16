"""What every process needs beside its work: threads, forks, a watchdog, output that never blocks, texts of errors."""
