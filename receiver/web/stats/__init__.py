"""What the dashboard and Prometheus show: charts, alarms, and the figures as text."""
