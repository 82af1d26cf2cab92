"""The sides that train whole epochs, a file for each library; none imports another library than its own."""
