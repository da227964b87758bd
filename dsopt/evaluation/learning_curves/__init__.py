"""Accuracy against images and steps: functional forms, their fits to pilot runs, forecasts with intervals, advice from these."""
