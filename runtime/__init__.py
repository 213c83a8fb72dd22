"""A built artifact and model files in, results out; imports no other stage of the compiler."""
