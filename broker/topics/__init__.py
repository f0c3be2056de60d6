"""The data plane: partitions led here, their group commit, their waiting fetches."""
