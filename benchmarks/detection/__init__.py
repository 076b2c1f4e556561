"""How many conversion bugs each tool finds, and at what price in false alarms: `python -m benchmarks.detection`."""
