"""Detection: watched series to anomaly episodes, with the model and the masks that judged each."""
