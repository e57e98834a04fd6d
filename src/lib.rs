//! httpipe
