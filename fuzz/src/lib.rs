//! What the fuzz targets check. Owns nothing: these are the modules with which `tests/properties.rs`
//! checks seeded inputs on the stable toolchain, so that both judge by the same rules.

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
