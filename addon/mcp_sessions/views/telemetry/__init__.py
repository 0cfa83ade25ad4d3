"""What others may know of it: figures for Prometheus, spans for OpenTelemetry. No extra is loaded unless asked for."""
