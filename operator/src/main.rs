//! quartet-operator: arguments, then the library.

fn main() {}
