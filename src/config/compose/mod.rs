//! The Compose model: reads what Docker Compose reads, and the same thing in it.
