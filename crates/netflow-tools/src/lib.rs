//! The tools beside the daemon: `decode` and the captures it reads, `send`, and the backend and traffic of `demo`.

pub mod capture;
pub mod decode;
pub mod demo;
pub mod numbers;
pub mod send;
pub mod stdout;
mod traffic;
