"""What the service reports: logs, figures, Sentry, and the listings that commands, API and pages share."""
