"""The sides that train whole epochs, a file for each library, which imports no other library."""
