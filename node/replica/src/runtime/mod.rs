//! The real thing around the engine: the driver's thread, the disk's thread, connections, the clock.
