"""Tasks: what CreateCloudSliceTask makes, kept on disk and kept running."""
