//! The generic driver against an API server in memory: it dies, is refused or is overtaken at every single request,
//! and converges all the same, doing once what must be done once.

// cfg(test) says to clippy that helpers here are tests too.
#[cfg(test)]
mod api;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod toy;
