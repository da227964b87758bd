"""The auditing job."""
