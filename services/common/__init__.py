"""What every service shares: errors, settings, profile, images, telemetry. Knows no service."""
