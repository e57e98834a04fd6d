//! The checks of the fuzz targets. Owns nothing: `tests/properties.rs` uses the same modules to check
//! seeded inputs on the stable toolchain, so both check the same rules.

#[path = "../../tests/properties/chunked.rs"]
pub mod chunked;
#[path = "../../tests/properties/connection.rs"]
pub mod connection;
#[path = "../../tests/properties/head.rs"]
pub mod head;
#[path = "../../tests/properties/input.rs"]
pub mod input;
#[path = "../../tests/properties/request.rs"]
pub mod request;
#[path = "../../tests/properties/route.rs"]
pub mod route;
