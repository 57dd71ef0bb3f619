"""The packed formats: each module makes one weight out of the tensors that hold it."""
