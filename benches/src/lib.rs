//! Placeholder for the room being built.
