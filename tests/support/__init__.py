"""What tests share: fakes at the seams, and contracts that fakes and kernel both keep."""
